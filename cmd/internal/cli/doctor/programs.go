package doctor

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
)

// process is a running program of the same network namespace.
type process struct {
	pid  string
	args []string
}

// processes finds the running programs of a name in our network namespace.
func (h *Host) processes(name string) []process {
	own, err := fs.ReadLink(h.FS, "proc/thread-self/ns/net")
	if err != nil {
		return nil
	}
	files, err := fs.Glob(h.FS, "proc/[0-9]*/comm")
	if err != nil {
		return nil
	}
	var found []process
	for _, f := range files {
		comm, err := h.read(f)
		if err != nil || strings.TrimSpace(comm) != name {
			continue
		}
		dir := path.Dir(f)
		if ns, err := fs.ReadLink(h.FS, dir+"/ns/net"); err != nil || ns != own {
			continue
		}
		line, _ := fs.ReadFile(h.FS, dir+"/cmdline") // a process that has just ended has no arguments
		p := process{pid: path.Base(dir)}
		for _, a := range bytes.Split(bytes.TrimRight(line, "\x00"), []byte{0}) {
			p.args = append(p.args, string(a))
		}
		found = append(found, p)
	}
	return found
}

// programs looks at what runs beside the daemon.
func (e *exam) programs() {
	e.conntrackd()
	e.keepalived()
}

func (e *exam) conntrackd() {
	const check = "conntrackd"
	if p := e.Host.processes("conntrackd"); len(p) > 0 {
		e.fault(check, "conntrackd runs, pid "+p[0].pid+": two masters of one table", "systemctl disable --now conntrackd")
		return
	}
	e.ok(check, "conntrackd does not run here")
}

// keepalivedConf is where keepalived reads its configuration unless it is told
// otherwise.
const keepalivedConf = "/etc/keepalived/keepalived.conf"

func (e *exam) keepalived() {
	const check = "keepalived"
	procs := e.Host.processes("keepalived")
	if len(procs) == 0 {
		e.ok(check, "keepalived does not run here: whatever moves addresses must look at %s itself", e.Dirs.Demotion(e.Name))
		return
	}
	conf := confOf(procs)
	k, err := readKeepalived(e.Host.FS, conf)
	if err != nil {
		e.warn(check, "keepalived runs, its configuration cannot be read: "+err.Error(), "be root")
		return
	}
	e.tracked(check, conf, k)
}

// confOf is the file that -f or --use-file names.
func confOf(procs []process) string {
	for _, p := range procs {
		for i, a := range p.args {
			if rest, ok := strings.CutPrefix(a, "--use-file="); ok {
				return rest
			}
			if (a == "-f" || a == "--use-file") && i+1 < len(p.args) {
				return p.args[i+1]
			}
		}
	}
	return keepalivedConf
}

// tracked: the demotion file must be defined, used, and used where keepalived
// looks at it.
func (e *exam) tracked(check, conf string, k *keepalivedConfig) {
	file := e.Dirs.Demotion(e.Name)
	remedy := "see scripts/keepalived/keepalived.conf.a, and pfsyncd(8)"
	var names []string
	for name, f := range k.files {
		if path.Clean(f.path) == path.Clean(file) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(names) == 0 {
		e.fault(check, "keepalived runs, but no track_file of "+conf+" names "+file+": it becomes master before it has the states", remedy)
		return
	}
	var ignored []string
	used := false
	for _, t := range k.tracks {
		if !slices.Contains(names, t.file) {
			continue
		}
		weight := t.weight || k.files[t.file].weight
		if group := k.groupOf[t.owner]; group != "" && !t.group && weight {
			ignored = append(ignored, fmt.Sprintf("in instance %s, which belongs to sync group %s", t.owner, group))
			continue
		}
		if t.group && weight && !k.weighs[t.owner] {
			ignored = append(ignored, "in sync group "+t.owner+", which has no sync_group_tracking_weight")
			continue
		}
		used = true
	}
	switch {
	case len(ignored) > 0:
		e.warn(check, "keepalived ignores the demotion file "+strings.Join(ignored, ", "),
			"put track_file and sync_group_tracking_weight into the vrrp_sync_group")
	case !used:
		e.fault(check, fmt.Sprintf("keepalived knows the demotion file as %s, but no instance or group tracks it", names[0]), remedy)
	default:
		e.ok(check, "keepalived tracks %s", file)
	}
}
