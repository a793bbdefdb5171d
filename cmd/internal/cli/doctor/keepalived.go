package doctor

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
)

// keepalivedConfig is what of keepalived.conf(5) is about tracked files.
type keepalivedConfig struct {
	files   map[string]trackFile // by name
	tracks  []trackUse
	groupOf map[string]string // sync group of an instance
	weighs  map[string]bool   // sync groups that allow weights
}

type trackFile struct {
	path   string
	weight bool // has one that is not 0
}

type trackUse struct {
	owner  string // instance or sync group
	group  bool   // owner is a sync group
	file   string // name
	weight bool
}

// readKeepalived reads a configuration with all that it includes.
func readKeepalived(root fs.FS, conf string) (*keepalivedConfig, error) {
	r := confReader{root: root}
	if err := r.file(conf, 0); err != nil {
		return nil, err
	}
	k := &keepalivedConfig{files: map[string]trackFile{}, groupOf: map[string]string{}, weighs: map[string]bool{}}
	rest := r.lines
	for len(rest) > 0 {
		var b block
		if b, rest = takeBlock(rest); b.name() != "" {
			k.top(b)
		}
	}
	return k, nil
}

// confReader collects the lines of a file and those it includes, as words;
// braces are lines of their own.
type confReader struct {
	root  fs.FS
	lines [][]string
}

// maxInclude is how deep files may include others here; keepalived itself only
// stops at the number of open files.
const maxInclude = 16

func (r *confReader) file(name string, depth int) error {
	if depth > maxInclude {
		return fmt.Errorf("%s: included too deep", name)
	}
	b, err := fs.ReadFile(r.root, strings.TrimPrefix(path.Clean(name), "/"))
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(b)) {
		w := confWords(line)
		if len(w) > 1 && strings.HasPrefix(w[0], "include") {
			if err := r.include(path.Dir(name), w[1], depth); err != nil {
				return err
			}
			continue
		}
		r.split(w)
	}
	return nil
}

// include takes a pattern, relative to the file it stands in. That nothing
// matches is no error by default.
func (r *confReader) include(dir, pattern string, depth int) error {
	if !path.IsAbs(pattern) {
		pattern = path.Join(dir, pattern)
	}
	files, err := fs.Glob(r.root, strings.TrimPrefix(pattern, "/"))
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := r.file("/"+f, depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (r *confReader) split(w []string) {
	var line []string
	end := func() {
		if len(line) > 0 {
			r.lines = append(r.lines, line)
			line = nil
		}
	}
	for _, s := range w {
		if s == "{" || s == "}" {
			end()
			r.lines = append(r.lines, []string{s})
			continue
		}
		line = append(line, s)
	}
	end()
}

// confWords takes a line apart: comments begin with # or !, double quotes hold
// words together, a brace is a word.
func confWords(line string) []string {
	var all []string
	w, quoted := "", false
	end := func() {
		if w != "" {
			all = append(all, w)
			w = ""
		}
	}
	for _, c := range line {
		switch {
		case c == '"':
			quoted = !quoted
		case quoted:
			w += string(c)
		case c == '#' || c == '!':
			end()
			return all
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			end()
		case c == '{' || c == '}':
			end()
			all = append(all, string(c))
		default:
			w += string(c)
		}
	}
	end()
	return all
}

// block is a line, and what stands in braces behind it.
type block struct {
	head []string
	body [][]string
}

func (b block) name() string {
	if len(b.head) == 0 {
		return ""
	}
	return b.head[0]
}

func (b block) arg() string {
	if len(b.head) < 2 {
		return ""
	}
	return b.head[1]
}

// takeBlock takes the first line with its block.
func takeBlock(lines [][]string) (b block, rest [][]string) {
	if lines[0][0] == "{" || lines[0][0] == "}" { // a brace too many
		return block{}, lines[1:]
	}
	b.head, rest = lines[0], lines[1:]
	if len(rest) == 0 || rest[0][0] != "{" {
		return b, rest
	}
	depth := 0
	for i, l := range rest {
		switch l[0] {
		case "{":
			depth++
		case "}":
			depth--
		}
		if depth == 0 {
			b.body = rest[1:i]
			return b, rest[i+1:]
		}
	}
	b.body = rest[1:]
	return b, nil
}

func (b block) each(f func(block)) {
	for rest := b.body; len(rest) > 0; {
		var sub block
		if sub, rest = takeBlock(rest); sub.name() != "" {
			f(sub)
		}
	}
}

func (k *keepalivedConfig) top(b block) {
	switch b.name() {
	case "track_file", "vrrp_track_file":
		f := trackFile{}
		b.each(func(s block) {
			switch s.name() {
			case "file":
				f.path = s.arg()
			case "weight":
				f.weight = s.arg() != "0"
			}
		})
		k.files[b.arg()] = f
	case "vrrp_instance":
		b.each(func(s block) { k.uses(s, b.arg(), false) })
	case "vrrp_sync_group":
		b.each(func(s block) {
			switch s.name() {
			case "group":
				s.each(func(m block) { k.groupOf[m.name()] = b.arg() })
			case "sync_group_tracking_weight":
				k.weighs[b.arg()] = true
			}
			k.uses(s, b.arg(), true)
		})
	}
}

// uses takes the block track_file of an instance or a group: a name a line,
// perhaps with its weight.
func (k *keepalivedConfig) uses(s block, owner string, group bool) {
	if s.name() != "track_file" {
		return
	}
	s.each(func(l block) {
		t := trackUse{owner: owner, group: group, file: l.name()}
		for i, w := range l.head {
			if w == "weight" && i+1 < len(l.head) {
				t.weight = l.head[i+1] != "0"
			}
		}
		k.tracks = append(k.tracks, t)
	})
}
