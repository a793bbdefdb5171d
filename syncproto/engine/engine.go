package engine

import (
	"math"
	"net/netip"
	"time"

	"github.com/pfsync/pfsync/pfstate"
	"github.com/pfsync/pfsync/syncproto"
)

const (
	never    = math.MaxInt64
	second   = int64(time.Second)
	milli    = int64(time.Millisecond)
	ipHeader = 20 // of the packet that carries a frame; the MTU counts it

	// livenessDelay is how long a mere sign of life may wait for company.
	livenessDelay = second
	// recentPeer: a state that a peer updated this lately is seen by both, so
	// changes go at once (pfsync-protocol.md section 12.2).
	recentPeer = 2 * second
	// opSettle is how long after an operation an event may still tell of the
	// time before it.
	opSettle = second
	// opCrossed is how long after an operation an event may still tell of what it
	// has overwritten.
	opCrossed = 100 * milli
	// maxHeld bounds the states kept only because their delete waits for the link:
	// what peers were told and what ends while it is down. A peer that is not told
	// brings them back with its table when the link is there again.
	maxHeld = 1 << 20
)

// Config is what an Engine is told from outside.
type Config struct {
	HostID   uint32           // our creatorid, never 0
	Format   syncproto.Format // what we send; everything is understood
	Sync     bool             // a syncdev is set
	Unicast  bool             // a syncpeer is set
	MaxUpd   int              // collapsed TCP updates of a state before it is sent at once, 0 to 255
	MaxDelay time.Duration    // how long a change may wait for others
	MTU      int              // of the IP packet

	MaxStates  int // states of peers, 0: no limit
	KernelMax  int // entries that the kernel holds, 0: not known
	Demotion   int // value of the demotion file during bulk
	KnownPeers int // peers known from before this start

	// Known are their addresses, as far as they are known.
	Known []netip.Addr

	// Defer says that packets are held, at most DeferDelay.
	Defer      bool
	DeferDelay time.Duration

	Timeouts pfstate.Timeouts // this kernel's
	Filter   pfstate.Filter   // what stays with us

	// Of this start, not changed by Set.
	Seed       uint64 // random: table hashing
	StartID    uint64 // first state id, unix seconds << 32
	Epoch      uint32 // of our frame numbers, different at every start
	KernelKept bool   // the kernel's table is the one of our last run, not a new one
	// DownFor is how long ago the last run was last known to be alive; 0 not known.
	DownFor time.Duration
	// Demoted is what the last run left in the demotion file.
	Demoted int
	// LastRun is what the last run left of its Settled.
	LastRun Settled

	// Log is told transitions, never single frames. May be nil.
	Log func(msg string, args ...any)
}

// Link is the state of the syncdev.
type Link struct {
	Up   bool       // present, up, with carrier and an address
	Self netip.Addr // our address on it
	MTU  int        // its own, 0 unknown
}

// Engine is the machine. The zero value is not usable, see New.
type Engine struct {
	cfg   Config
	link  Link
	tab   *pfstate.Table
	Stats Stats

	nextID   uint64
	sureFrom uint64 // of names from here on that we gave we know whether they ended
	started  int64

	queues  [queueKinds]pfstate.Queue
	due     int64 // when what is queued leaves
	rawDel  ring  // names to delete that have no State
	reqs    ring  // names to ask for
	held    int   // dead states waiting for their delete to be sent
	queuedB int   // bytes queued, for filling a frame

	ops     pfstate.Queue
	deletes []pfstate.Ref // handed out and not answered, in order
	answers uint64        // to operations

	settling settling
	rest     uint64 // answers after which the kernel has what peers told while they named
	imported bool   // a state of a peer has been taken

	dying   map[entryKey]dying
	carried int // states carried here

	peers   peers
	bulk    bulk
	serve   serve
	dump    dump
	claim   claim
	repair  repair
	recount recount
	index   bucketIndex
	tells   tells
	look    look
	check   check
	verify  Verification
	graves  graves
	buried  buried
	doubts  doubts
	defers  defers
	life    life
	expects expects
	kept    kept
	onlyPF  onlyPF
	sieve   pfstate.Ref // cursor of the walk after a change of the filter, 0 none
	lastOut int64       // when a frame last left
	frameNo uint32
	clrs    []syncproto.Clr

	refusals refusals
	evict    pfstate.Ref // cursor of evictFor
	evicts   bucket      // slots that it looks at
	clrWalks bucket      // walks for CLR of all sources
	scratch  scratch
}

// New returns an engine with an empty table. Nothing is announced before the
// first dump has ended.
func New(now int64, cfg Config) *Engine {
	e := &Engine{cfg: cfg, tab: pfstate.NewTable(cfg.Seed), nextID: cfg.StartID, started: now, due: never, dying: map[entryKey]dying{}}
	e.ops.Set = pfstate.LinkOps
	e.rawDel.most = maxHeld
	e.peers.init()
	e.claim.init()
	e.bulk.init()
	e.defers.init()
	e.lastOut, e.life.last = now, now
	if cfg.Sync {
		e.bulkStart(now)
	}
	return e
}

// Table gives read access for status and walks. It must not be changed.
func (e *Engine) Table() *pfstate.Table { return e.tab }

// Config returns the configuration in force.
func (e *Engine) Config() Config { return e.cfg }

// Set changes the configuration. Setting what is set changes nothing; another
// syncdev or syncpeer (resync) asks for a bulk transfer.
func (e *Engine) Set(now int64, cfg Config, resync bool) {
	cfg.Seed, cfg.StartID, cfg.Epoch, cfg.KernelKept, cfg.DownFor, cfg.Demoted, cfg.LastRun, cfg.Log =
		e.cfg.Seed, e.cfg.StartID, e.cfg.Epoch, e.cfg.KernelKept, e.cfg.DownFor, e.cfg.Demoted, e.cfg.LastRun, e.cfg.Log
	renamed := cfg.HostID != e.cfg.HostID
	roomier := e.cfg.MaxStates > 0 && (cfg.MaxStates == 0 || cfg.MaxStates > e.cfg.MaxStates)
	was, untold := e.cfg.Filter, cfg.Sync && !e.cfg.Sync
	e.cfg = cfg
	if !cfg.Defer || !cfg.Sync {
		e.ReleaseAll()
	}
	e.refilter(now, &was)
	if roomier {
		e.doubtAll(now) // there may be what was refused
	}
	if renamed && e.peers.clash.IsValid() {
		e.clashOver(now)
	}
	if untold {
		e.announceAll(now)
	}
	switch {
	case !cfg.Sync:
		e.bulkNone()
	case resync:
		e.bulkStart(now)
		e.bulkLink(now)
	}
}

// Link tells the state of the syncdev.
func (e *Engine) Link(now int64, l Link) {
	e.awake(now)
	was := e.link
	e.link = l
	switch {
	case l.Up && !was.Up:
		e.bulk.upAt = now
	case l.Up && l.Self != was.Self:
		e.bulk.downAt, e.bulk.upAt = now, now
	}
	if l.Up && (!was.Up || l.Self != was.Self) {
		e.bulkLink(now)
		e.schedIfQueued(now)
	}
	if !l.Up && was.Up {
		e.bulkLinkDown(now)
		e.ReleaseAll()
		e.checkStop(now)
	}
}

// mtu is the room of an IP packet.
func (e *Engine) mtu() int {
	m := e.cfg.MTU
	if e.link.MTU > 0 && e.link.MTU < m {
		m = e.link.MTU
	}
	return max(m, minMTU)
}

// Deadline says when Tick, and then NextFrame, are due. It may lie in the past.
func (e *Engine) Deadline() int64 {
	d := min(e.bulk.deadline(), e.peers.deadline(), e.claim.deadline(), e.wakeAt(), e.defers.deadline(), e.doubts.deadline(), e.expects.deadline(), e.kept.deadline())
	if e.dump.sweep != 0 || e.repair.sweep != 0 || e.sieve != 0 {
		return 0
	}
	if e.cfg.Sync && !e.link.Up {
		return d // nothing can leave
	}
	if e.bulk.ask {
		return 0
	}
	if e.queued() {
		d = min(d, e.due)
	}
	return min(d, e.serve.deadline(e), e.heartbeatAt(), e.repair.deadline(), e.checkDeadline(), e.bulkLaterAt())
}

// Tick lets time pass.
func (e *Engine) Tick(now int64) {
	e.awake(now)
	e.bulkTick(now)
	e.bulkLater(now)
	e.peersTick(now)
	e.claimTick(now)
	e.repairTick(now)
	e.deferTick(now)
	e.doubtTick(now)
	e.sieveTick(now)
	e.checkTick(now)
	e.expectTick(now)
	e.kept.tick(now)
}

func (e *Engine) log(msg string, args ...any) {
	if e.cfg.Log != nil {
		e.cfg.Log(msg, args...)
	}
}

func (e *Engine) count(c Counter) { e.Stats.Count[c]++ }
func (e *Engine) reason(r Reason) { e.Stats.Reason[r]++ }

// newName gives out our next name that nobody has used for us.
func (e *Engine) newName() pfstate.ID {
	for {
		id := pfstate.ID{ID: e.nextID, CreatorID: e.cfg.HostID}
		e.nextID++
		if _, _, taken := e.tab.ByName(id); !taken {
			return id
		}
	}
}

// ours reports whether a name was made by this host.
func (e *Engine) ours(id pfstate.ID) bool { return id.CreatorID == e.cfg.HostID }
