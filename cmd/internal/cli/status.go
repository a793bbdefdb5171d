package cli

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// status prints one interface.
func (a *app) status() error {
	c := a.client()
	defer c.Close()
	st, err := c.Status(a.ctx)
	if err != nil {
		return a.gone(err)
	}
	return a.printStatus(st)
}

func (a *app) printStatus(st control.Status) error {
	if a.json {
		return a.out.object(st)
	}
	_, err := a.out.Write(statusText(st))
	return err
}

// alive are the names of the interfaces of this network namespace whose daemon
// answers, as far as it can be told.
func (a *app) alive() []string {
	names, _ := a.dirs().Names() // without a run directory there are none
	return slices.DeleteFunc(names, func(name string) bool {
		c := control.NewClient(a.dirs().Socket(name))
		defer c.Close()
		_, err := c.Status(a.ctx)
		return err != nil
	})
}

// statusAll prints all interfaces of this network namespace, or their names.
func (a *app) statusAll() error {
	names, err := a.dirs().Names()
	if err != nil {
		return err
	}
	found := []string{}
	for _, name := range names {
		c := control.NewClient(a.dirs().Socket(name))
		st, err := c.Status(a.ctx)
		c.Close()
		switch {
		case errors.Is(err, control.ErrNotRunning), errors.Is(err, control.ErrNetNS):
			continue // the socket of a dead daemon, or of another namespace's
		case err != nil:
			a.name = name
			return a.denied(err)
		}
		found = append(found, name)
		if !a.list {
			if err := a.printStatus(st); err != nil {
				return err
			}
		}
	}
	if a.list {
		return a.printNames(found)
	}
	return nil
}

func (a *app) printNames(names []string) error {
	if a.json {
		return a.out.object(names)
	}
	if len(names) == 0 {
		return nil
	}
	_, err := fmt.Fprintln(a.out, strings.Join(names, " "))
	return err
}

// Flags as OpenBSD's ifconfig prints them (net/if.h).
const (
	flagUp      = 0x1
	flagRunning = 0x40
)

// statusText is what ifconfig(8) prints, with lines of ours between OpenBSD's
// (design section 2, exact to the byte).
func statusText(st control.Status) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s: %s mtu %d\n", st.Name, flagsText(st), st.MTU)
	if st.Config.Description != "" {
		fmt.Fprintf(&b, "\tdescription: %s\n", st.Config.Description)
	}
	if st.Config.SyncDev != "" {
		fmt.Fprintf(&b, "\t%s\n", pfsyncLine(st.Config))
	}
	fmt.Fprintf(&b, "\tversion: %d hostid: %s sync: %s demotion: %d\n", st.Config.Version, st.HostID, st.Sync, st.Demotion)
	for _, p := range st.Peers {
		fmt.Fprintf(&b, "\tpeer: %s version %d heard %.1fs ago states: %d\n", p.Addr, p.Wire(), p.Heard, p.States)
	}
	fmt.Fprintf(&b, "\tgroups: %s\n", strings.Join(st.Groups, " "))
	return b.Bytes()
}

func flagsText(st control.Status) string {
	flags, names := 0, []string{}
	if st.Up {
		flags, names = flags|flagUp, append(names, "UP")
	}
	if st.Running {
		flags, names = flags|flagRunning, append(names, "RUNNING")
	}
	return fmt.Sprintf("flags=%x<%s>", flags, strings.Join(names, ","))
}

// pfsyncLine is OpenBSD's, sbin/ifconfig/ifconfig.c pfsync_status.
func pfsyncLine(c control.Config) string {
	line := "pfsync: syncdev: " + c.SyncDev + " "
	if c.SyncPeer.IsValid() {
		line += "syncpeer: " + c.SyncPeer.String() + " "
	}
	onOff := "off"
	if c.Defer {
		onOff = "on"
	}
	return line + fmt.Sprintf("maxupd: %d defer: %s", c.MaxUpd, onOff)
}
