package daemon

// tellUntracked says, once, that there will be nothing to synchronise: without
// a rule that asks for it the kernel tracks nothing, and tells nobody. d.mu is
// held.
func (d *Daemon) tellUntracked() {
	if d.probed {
		return
	}
	d.probed = true
	switch tracks, err := d.host.Tracks(); {
	case err != nil:
		d.log.Debug("cannot tell whether connections are tracked", "err", err)
	case !tracks:
		d.log.Warn("no rule uses connection tracking, so there are no states; load one with 'ct state', or ask the doctor")
	}
}
