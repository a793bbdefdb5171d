package syncproto

// Value checks of a receiver (pfsync-protocol.md section 9.3; pfsync_in_ins,
// pfsync_in_upd and pfsync_in_upd_c of if_pfsync.c). A message that fails
// counts badval and is left out; the next one is processed.

// CheckIns tells whether a receiver takes the values of an INS that came in
// format f: nil, or an error that is ErrValue.
func (m *State) CheckIns(f Format) error {
	if err := m.CheckUpd(f); err != nil {
		return err
	}
	if m.Direction > DirOut {
		return errDirection
	}
	if !m.familiesValid(f) {
		return errFamily
	}
	return nil
}

// CheckUpd tells the same of an UPD. Direction and families matter only if
// the state is not known yet; the import checks them.
func (m *State) CheckUpd(f Format) error {
	return checkPeers(f, m.Timeout, m.Src.State, m.Dst.State)
}

// Check tells the same of an UPD_C that came in a frame of the format's
// version.
func (m *UpdC) Check(f Format) error {
	return checkPeers(f, m.Timeout, m.Src.State, m.Dst.State)
}

func checkPeers(f Format, timeout, src, dst uint8) error {
	if timeout >= f.TimeoutLimit() {
		return errTimeout
	}
	if src > MaxPeerState || dst > MaxPeerState {
		return errPeerState
	}
	return nil
}

// familiesValid: version 5 looks at the record's (wire) family only; version 6
// also wants the families of the keys to be both known, or both 0 as older
// senders have them.
func (m *State) familiesValid(f Format) bool {
	if !f.familyValid(m.AF) {
		return false
	}
	wire, stack := m.Key[KeyWire].AF, m.Key[KeyStack].AF
	if f != Format6 || wire == 0 && stack == 0 {
		return true
	}
	return f.familyValid(wire) && f.familyValid(stack)
}

func (f Format) familyValid(af uint8) bool {
	return af == FamilyIPv4 || af == f.FamilyIPv6()
}
