package nfqueue

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nftRules send the first packet of each forwarded connection to the queue.
// With conntrack's entry in the message that is done after all translation, and
// the whole connection is known.
const nftRules = `table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain postrouting {
		type filter hook postrouting priority 150
		iif != 0 ct state new ct status & confirmed == 0 queue num %[2]d bypass
	}
}
`

// nftPlainRules are those for a kernel that does not tell the entry: what is
// read from the packet holds before the source is translated, and where the
// destination already was not at all. Of translated connections the answers
// are held instead, where they still are as the entry has them.
const nftPlainRules = `table inet %[1]s
delete table inet %[1]s
table inet %[1]s {
	chain postrouting {
		type filter hook postrouting priority -145
		iif != 0 ct state new ct status & (confirmed | dnat) == 0 queue num %[2]d bypass
	}
	chain prerouting {
		type filter hook prerouting priority -145
		ct direction reply ct status & (snat | dnat) != 0 ct status & assured == 0 queue num %[2]d bypass
	}
}
`

// iptablesRules are nftPlainRules for iptables-restore --noflush: a forwarded
// packet is one whose source is not ours. The chains have names of their own,
// so that they can be taken out whatever the queue's number was.
const iptablesRules = `*mangle
:%[1]s-new - [0:0]
:%[1]s-re - [0:0]
-A %[1]s-new -m addrtype ! --src-type LOCAL -m conntrack --ctstate NEW -m conntrack ! --ctstate DNAT -m conntrack ! --ctstatus CONFIRMED -j NFQUEUE --queue-num %[2]d --queue-bypass
-A %[1]s-re -m conntrack --ctstate SNAT,DNAT -m conntrack --ctdir REPLY ! --ctstatus ASSURED -j NFQUEUE --queue-num %[2]d --queue-bypass
-A POSTROUTING -j %[1]s-new
-A PREROUTING -j %[1]s-re
COMMIT
`

// Rules are the rules of one interface in the kernel.
type Rules struct {
	Whole bool     // packets of both translations are seen with all of it: Packet.Flow is final where CT is set
	By    string   // "nft" or "iptables"
	Made  []string // families whose mangle table is there for these rules only, as Missing names them
	table string
}

// Install puts in the rules that send packets to queue num, in place of those
// that are there: through nft, or where that has no queue through iptables and
// ip6tables. conntrack says whether the queue tells the entry, made which mangle
// tables are there for our rules only, or will be: [Missing] before the first
// of them. It works on the calling thread's network namespace. After an error
// there are none.
func Install(ifname string, num uint16, conntrack bool, made []string) (*Rules, error) {
	r := &Rules{By: "nft", Whole: conntrack, table: tableName(ifname)}
	text := nftPlainRules
	if conntrack {
		text = nftRules
	}
	nftErr := run("nft", fmt.Sprintf(text, r.table, num), "-f", "-")
	if nftErr == nil {
		removeIPTables(r.table)
		removeMangle(made)
		return r, nil
	}
	removeNFT(r.table)
	r.By, r.Whole, r.Made = "iptables", false, made
	if err := r.installIPTables(num); err != nil {
		return nil, &OpError{"install rules", errors.Join(ErrNoRules, nftErr, err)}
	}
	return r, nil
}

// installIPTables puts the rules in for each family that the kernel has.
func (r *Rules) installIPTables(num uint16) error {
	removeIPTables(r.table)
	for _, program := range families() {
		if err := run(program+"-restore", fmt.Sprintf(iptablesRules, r.table, num), "--noflush"); err != nil {
			removeIPTables(r.table)
			removeMangle(r.Made)
			return err
		}
	}
	return nil
}

// Missing are the families, as their iptables programs are called, that have no
// mangle table yet: iptables makes one and leaves it behind.
func Missing() (list []string) {
	for _, program := range families() {
		if !hasMangle(program) {
			list = append(list, program)
		}
	}
	return list
}

// nftFamilies are the tables of iptables as nft names them.
var nftFamilies = map[string]string{"iptables": "ip", "ip6tables": "ip6"}

// hasMangle reports whether there is a mangle table, or it cannot be told:
// looking with iptables would make one.
func hasMangle(program string) bool {
	path, err := find("nft")
	if err != nil {
		return true
	}
	out, err := exec.Command(path, "list", "tables", nftFamilies[program]).Output()
	return err != nil || strings.Contains(string(out), " mangle\n")
}

// removeMangle deletes mangle tables, which iptables leaves behind, if there are
// only its chains in them. Those of the old iptables nft does not see.
func removeMangle(made []string) {
	path, err := find("nft")
	if err != nil {
		return
	}
	for _, program := range made {
		family, ok := nftFamilies[program]
		if !ok {
			continue
		}
		out, err := exec.Command(path, "list", "table", family, "mangle").Output()
		if err == nil && onlyChains(string(out)) {
			run("nft", "delete table "+family+" mangle\n", "-f", "-")
		}
	}
}

// onlyChains reports whether a table as nft lists it has nothing but base
// chains that accept.
func onlyChains(listed string) bool {
	for line := range strings.Lines(listed) {
		line = strings.TrimSpace(line)
		switch {
		case line == "", line == "}", strings.HasPrefix(line, "#"), strings.HasPrefix(line, "table "), strings.HasPrefix(line, "chain "):
		case strings.HasPrefix(line, "type ") && strings.HasSuffix(line, "policy accept;"):
		default:
			return false
		}
	}
	return true
}

// Remove takes the rules out.
func (r *Rules) Remove() {
	if r.By == "nft" {
		removeNFT(r.table)
		return
	}
	removeIPTables(r.table)
	removeMangle(r.Made)
}

// RemoveLeft takes out what an earlier daemon may have left, with the mangle
// tables that its rules had made.
func RemoveLeft(ifname string, made []string) {
	removeNFT(tableName(ifname))
	removeIPTables(tableName(ifname))
	removeMangle(made)
}

func tableName(ifname string) string { return "pfsync_" + ifname }

// families are the iptables programs for what the kernel speaks.
func families() []string {
	if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
		return []string{"iptables"}
	}
	return []string{"iptables", "ip6tables"}
}

// removeNFT deletes the table; that there is none is no error.
func removeNFT(table string) {
	run("nft", "delete table inet "+table+"\n", "-f", "-")
}

// removeIPTables deletes the jumps, then the chains. Each may be missing.
func removeIPTables(table string) {
	for _, program := range families() {
		for _, c := range [...]struct{ from, chain string }{{"POSTROUTING", table + "-new"}, {"PREROUTING", table + "-re"}} {
			if run(program, "", "-w", "-t", "mangle", "-S", c.chain) != nil {
				continue
			}
			for run(program, "", "-w", "-t", "mangle", "-D", c.from, "-j", c.chain) == nil {
			}
			run(program, "", "-w", "-t", "mangle", "-F", c.chain)
			run(program, "", "-w", "-t", "mangle", "-X", c.chain)
		}
	}
}

// run runs a program with input; the error has the last line that it wrote.
func run(program, input string, args ...string) error {
	path, err := find(program)
	if err != nil {
		return err
	}
	var out bytes.Buffer
	cmd := exec.Command(path, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &out, &out
	// The child is made by the calling thread, in its network namespace.
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, err, firstLine(out.String()))
	}
	return nil
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return line
}

// find looks for a program in the path, and where a service may have none.
func find(program string) (string, error) {
	path, err := exec.LookPath(program)
	if err == nil {
		return path, nil
	}
	for _, dir := range [...]string{"/usr/sbin", "/sbin", "/usr/local/sbin"} {
		if p := filepath.Join(dir, program); exec.Command(p).Err == nil {
			if _, serr := os.Stat(p); serr == nil {
				return p, nil
			}
		}
	}
	return "", err
}
