package golden

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"path"
	"sort"
	"strings"
	"sync"
	"testing"
)

//go:embed testdata/golden.tar.gz
var archive []byte

// Dialects are the names that Cases takes.
var Dialects = []string{"openbsd6", "freebsd-1301", "freebsd-1400", "freebsd-1500"}

// Kernel returns the verdict to compare with for a dialect, a key of
// Packet.Expect.
func Kernel(dialect string) string {
	if dialect == "openbsd6" {
		return "openbsd"
	}
	return "freebsd"
}

// Cases returns the cases of a dialect in the order of their names. They are
// shared between callers: change nothing.
func Cases(tb testing.TB, dialect string) []Case {
	tb.Helper()
	all, err := load()
	if err != nil {
		tb.Fatalf("golden: %v", err)
	}
	if len(all[dialect]) == 0 {
		tb.Fatalf("golden: no case of dialect %q", dialect)
	}
	return all[dialect]
}

// Frame returns the packet from behind its IP header.
func (p *Packet) Frame() []byte { return p.Data[p.IP.HeaderLen():] }

// Valid tells whether the case is of kind valid.
func (c *Case) Valid() bool { return c.Kind == "valid" }

var load = sync.OnceValues(func() (map[string][]Case, error) {
	files, err := unpack(archive)
	if err != nil {
		return nil, err
	}
	all := make(map[string][]Case)
	for name := range files {
		if path.Ext(name) != ".json" {
			continue
		}
		c, err := newCase(files, strings.TrimSuffix(name, ".json"))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		all[c.Dialect] = append(all[c.Dialect], c)
	}
	for _, cs := range all {
		sort.Slice(cs, func(i, j int) bool { return cs[i].Name < cs[j].Name })
	}
	return all, nil
})

// unpack returns the files of a compressed archive by name.
func unpack(b []byte) (map[string][]byte, error) {
	z, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	files := make(map[string][]byte)
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files, nil
		}
		if err != nil {
			return nil, err
		}
		if files[h.Name], err = io.ReadAll(r); err != nil {
			return nil, err
		}
	}
}

// newCase reads the three files of a case.
func newCase(files map[string][]byte, stem string) (c Case, err error) {
	c.JSON, c.Pcap = files[stem+".json"], files[stem+".pcap"]
	if err := strict(c.JSON, &c); err != nil {
		return c, err
	}
	data, err := packets(c.Pcap)
	if err != nil {
		return c, err
	}
	if len(data) != len(c.Packets) {
		return c, fmt.Errorf("%d packets described, %d captured", len(c.Packets), len(data))
	}
	for i := range data {
		c.Packets[i].Data = data[i]
	}
	c.Text = sections(string(files[stem+".txt"]))
	return c, nil
}

// packets splits a little-endian libpcap file.
func packets(b []byte) (list [][]byte, err error) {
	if len(b) < 24 || binary.LittleEndian.Uint32(b) != 0xa1b2c3d4 {
		return nil, errors.New("not a little-endian pcap file")
	}
	for b = b[24:]; len(b) >= 16; {
		n := int(binary.LittleEndian.Uint32(b[8:]))
		if len(b)-16 < n {
			break
		}
		list = append(list, b[16:16+n])
		b = b[16+n:]
	}
	if len(b) != 0 {
		return nil, io.ErrUnexpectedEOF
	}
	return list, nil
}

// sections splits a text file at its "### name" lines.
func sections(s string) map[string]string {
	m := make(map[string]string)
	for part := range strings.SplitSeq("\n"+strings.TrimSuffix(s, "\n"), "\n### ") {
		if name, body, ok := strings.Cut(part, "\n"); ok && name != "" {
			m[name] = body + "\n"
		}
	}
	return m
}
