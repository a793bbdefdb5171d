package daemon

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// liberalPath is the file that keeps what nf_conntrack_tcp_be_liberal was, in
// the run directory: like the sysctl it does not outlive a boot.
func (d *Daemon) liberalPath() string { return filepath.Join(d.dirs.Run, d.name+".liberal") }

// setLiberal has TCP outside its window pass while a syncdev is set: a
// connection that was elsewhere for a second has another window when it
// returns. Otherwise the sysctl is what it was, even if a daemon was killed in
// between. d.mu is held.
func (d *Daemon) setLiberal(on bool) {
	var err error
	switch {
	case on && !d.liberal:
		err = d.beLiberal()
	case !on && d.liberal:
		err = d.unsetLiberal()
	default:
		return
	}
	if err != nil {
		d.log.Warn("cannot change what TCP may do outside its window", "err", err)
	}
	d.liberal = on
}

func (d *Daemon) beLiberal() error {
	was, err := d.host.SetLiberal(1)
	if err != nil {
		return err
	}
	if _, err := os.Stat(d.liberalPath()); err == nil {
		return nil // a killed daemon has left what it found
	}
	return writeFile(d.liberalPath(), strconv.FormatUint(uint64(was), 10)+"\n", 0o600)
}

func (d *Daemon) unsetLiberal() error {
	b, err := os.ReadFile(d.liberalPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it could not be set
	}
	was, perr := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err = errors.Join(err, perr); err != nil {
		return err
	}
	_, err = d.host.SetLiberal(uint32(was))
	return errors.Join(err, os.Remove(d.liberalPath()))
}
