package doctor

import (
	"io/fs"
	"os"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// link is a symbolic link of a fake file system.
func linkTo(target string) *fstest.MapFile {
	return &fstest.MapFile{Data: []byte(target), Mode: fs.ModeSymlink}
}

// running adds a process to a fake /proc.
func running(root fstest.MapFS, pid, name, netns string, args ...string) {
	root["proc/"+pid+"/comm"] = &fstest.MapFile{Data: []byte(name + "\n")}
	root["proc/"+pid+"/cmdline"] = &fstest.MapFile{Data: []byte(strings.Join(args, "\x00") + "\x00")}
	root["proc/"+pid+"/ns/net"] = linkTo(netns)
}

func TestKeepalived(t *testing.T) {
	const define = "track_file p {\n file /run/pfsync/pfsync0.demotion\n weight -1\n init_file 0\n}\n"
	example, err := os.ReadFile("../../../../scripts/keepalived/keepalived.conf.a")
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name  string
		files map[string]string
		level Level
		text  string
	}{
		{"example", map[string]string{"": string(example)}, OK, "tracks /run/pfsync/pfsync0.demotion"},
		{"instance", map[string]string{"": define + "vrrp_instance V { track_file { p weight -1 } }"}, OK, "tracks"},
		{"not defined", map[string]string{"": "vrrp_instance V {\n}\n"}, Fault, "no track_file of /etc/keepalived/keepalived.conf names"},
		{"commented out", map[string]string{"": "! track_file p { file /run/pfsync/pfsync0.demotion }\n"}, Fault, "no track_file"},
		{"other file", map[string]string{"": strings.ReplaceAll(define, "pfsync0", "pfsync1")}, Fault, "no track_file"},
		{"not used", map[string]string{"": define + "vrrp_instance V { priority 100 }"}, Fault, "knows the demotion file as p, but"},
		{"instance of a group", map[string]string{"": define + "vrrp_sync_group G { group { V } }\nvrrp_instance V { track_file { p weight -1 } }"}, Warning,
			"in instance V, which belongs to sync group G"},
		{"group on lines", map[string]string{"": define + "vrrp_sync_group G\n{\n group\n {\n V\n W\n }\n}\nvrrp_instance W {\n track_file {\n  p\n }\n}\n"}, Warning, "instance W"},
		{"group without weight", map[string]string{"": define + "vrrp_sync_group G { track_file { p weight -1 } }"}, Warning, "no sync_group_tracking_weight"},
		{"included", map[string]string{"": "include conf.d/*.conf\ninclude /no/such\n", "conf.d/a.conf": define, "conf.d/b.conf": "include ../more\n",
			"more": "vrrp_instance V { track_file { p } }\n"}, OK, "tracks"},
		{"quoted", map[string]string{"": "vrrp_track_file \"p\" {\n file \"/run/pfsync//pfsync0.demotion\"\n}\nvrrp_instance V { track_file { p weight 0 } } # end"}, OK, "tracks"},
		{"includes itself", map[string]string{"": "include keepalived.conf\n"}, Warning, "included too deep"},
		{"broken", map[string]string{"": "} vrrp_instance V { track_file { p\n"}, Fault, "no track_file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			root := fstest.MapFS{"proc/thread-self/ns/net": linkTo("net:[1]")}
			running(root, "77", "keepalived", "net:[1]", "keepalived", "-n")
			for name, text := range tc.files {
				if name == "" {
					name = "keepalived.conf"
				}
				root["etc/keepalived/"+name] = &fstest.MapFile{Data: []byte(text)}
			}
			e := exam{Doctor: &Doctor{Name: "pfsync0", Dirs: control.Dirs{Run: "/run/pfsync"}, Host: Host{FS: root}}}
			e.keepalived()
			if len(e.found) != 1 || e.found[0].Level != tc.level || !strings.Contains(e.found[0].Text, tc.text) {
				t.Errorf("got %+v", e.found)
			}
		})
	}
}

// TestKeepalivedFile: the file that a running keepalived was told to read.
func TestKeepalivedFile(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"keepalived -n", "/etc/keepalived/keepalived.conf"},
		{"keepalived -n -f /etc/ka.conf", "/etc/ka.conf"},
		{"keepalived --use-file=/etc/ka.conf -l", "/etc/ka.conf"},
		{"keepalived --use-file /etc/ka.conf", "/etc/ka.conf"},
	} {
		if got := confOf([]process{{args: strings.Fields(tc.args)}}); got != tc.want {
			t.Errorf("%s: %s", tc.args, got)
		}
	}
}

// TestProcesses: those of other network namespaces are none of ours.
func TestProcesses(t *testing.T) {
	root := fstest.MapFS{"proc/thread-self/ns/net": linkTo("net:[1]")}
	running(root, "5", "conntrackd", "net:[2]", "conntrackd")
	running(root, "6", "conntrack", "net:[1]", "conntrack", "-E")
	h := Host{FS: root}
	if p := h.processes("conntrackd"); len(p) > 0 {
		t.Errorf("found %v", p)
	}
	running(root, "7", "conntrackd", "net:[1]", "conntrackd", "-C", "x")
	if p := h.processes("conntrackd"); len(p) != 1 || p[0].pid != "7" || len(p[0].args) != 3 {
		t.Errorf("found %v", p)
	}
}
