package golden

import (
	"bytes"
	"encoding/json"
)

// Endpoint is a Peer, or in a TDB the address of one.
type Endpoint struct {
	Peer
	Addr string
}

// UnmarshalJSON takes an object as Peer and a string as Addr.
func (e *Endpoint) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, &e.Addr)
	}
	return strict(b, &e.Peer)
}

// Int32s is a list of numbers that may be written as one number.
type Int32s []int32

// UnmarshalJSON takes a number or a list.
func (v *Int32s) UnmarshalJSON(b []byte) error {
	if b[0] != '[' {
		*v = make(Int32s, 1)
		return json.Unmarshal(b, &(*v)[0])
	}
	return json.Unmarshal(b, (*[]int32)(v))
}

// strict decodes and refuses fields that nobody would compare.
func strict(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	return d.Decode(v)
}
