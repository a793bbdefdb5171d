package wireshark

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/tunif/nstest"
)

// Link types of pcap files.
const (
	linkRaw  = 101 // whole IP packets
	linkUser = 147 // the first one that is free for any use
)

// capture is what goes into one file.
type capture struct {
	link    uint32
	packets [][]byte
	snap    int // no more than so many bytes of each are in the file; 0: all
}

// write makes a little-endian pcap file.
func (c *capture) write(t *testing.T) string {
	t.Helper()
	le := binary.LittleEndian
	b := le.AppendUint32(nil, 0xa1b2c3d4)
	b = le.AppendUint16(le.AppendUint16(b, 2), 4)
	b = append(b, make([]byte, 8)...)
	b = le.AppendUint32(le.AppendUint32(b, 0xffff), c.link)
	for i, p := range c.packets {
		n := len(p)
		if c.snap > 0 {
			n = min(n, c.snap)
		}
		for _, v := range []int{1700000000 + i, 0, n, len(p)} {
			b = le.AppendUint32(b, uint32(v))
		}
		b = append(b, p[:n]...)
	}
	file := filepath.Join(t.TempDir(), "test.pcap")
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// tshark runs it on a file with our script and returns its output. It skips
// the test if there is no tshark, or fails it where nothing may be skipped.
func tshark(t *testing.T, file string, args ...string) string {
	t.Helper()
	program, err := exec.LookPath("tshark")
	if err != nil {
		if os.Getenv(nstest.RequireEnv) == "1" {
			t.Fatalf("%v, and %s=1", err, nstest.RequireEnv)
		}
		t.Skip(err)
	}
	// Neither the user's preferences nor an installed pfsync.lua may matter.
	home := t.TempDir()
	cmd := exec.Command(program, append([]string{"-n", "-X", "lua_script:pfsync.lua", "-r", file}, args...)...)
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_CONFIG_HOME="+home, "WIRESHARK_CONFIG_DIR="+home, "LC_ALL=C.UTF-8")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, stderr.Bytes())
	}
	if strings.Contains(strings.ToLower(stderr.String()), "lua") {
		t.Errorf("tshark: %s", stderr.Bytes())
	}
	return string(out)
}

// Separators that no value has in it.
const (
	fieldSep = "\x1f"
	valueSep = "\x1e"
)

// values are the values of fields in one packet: all occurrences, in order.
type values map[string]string

// list returns the occurrences of a field.
func (v values) list(name string) []string {
	if v[name] == "" {
		return nil
	}
	return strings.Split(v[name], valueSep)
}

// counts returns how often each of the fields occurs, without those that do
// not.
func (v values) counts(names []string) map[string]int {
	m := make(map[string]int)
	for _, name := range names {
		if n := len(v.list("pfsync." + name)); n > 0 {
			m[name] = n
		}
	}
	return m
}

// dissect returns the values of the fields in every packet. It is an error if
// the script failed on one, or read over its end.
func dissect(t *testing.T, c *capture, fields []string, args ...string) []values {
	t.Helper()
	all := append([]string{"_ws.lua.error", "_ws.expert.message"}, fields...)
	args = append(args, "-T", "fields", "-E", "separator="+fieldSep, "-E", "aggregator="+valueSep)
	for _, f := range all {
		args = append(args, "-e", f)
	}
	var list []values
	for line := range strings.Lines(tshark(t, c.write(t), args...)) {
		v := make(values)
		for i, s := range strings.Split(strings.TrimSuffix(line, "\n"), fieldSep) {
			v[all[i]] = s
		}
		if v[all[0]] != "" || strings.Contains(v[all[1]], "xception") {
			t.Errorf("packet %d: %s\n%x", len(list)+1, v[all[1]], c.packets[len(list)])
		}
		list = append(list, v)
	}
	if len(list) != len(c.packets) {
		t.Fatalf("%d packets of %d", len(list), len(c.packets))
	}
	return list
}

// ipv4 puts a frame into a packet.
func ipv4(frame []byte) []byte {
	b := []byte{0x45, 0x10, 0, 0, 0, 0, 0x40, 0, 255, 240, 0, 0, 192, 0, 2, 1, 224, 0, 0, 240}
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)+len(frame)))
	return append(b, frame...)
}
