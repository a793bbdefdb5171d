package cli

import (
	"bufio"
	"encoding/json"
	"io"
)

// output is buffered stdout that remembers its first error.
type output struct {
	dst io.Writer
	w   *bufio.Writer
	err error
}

func newOutput(w io.Writer) *output { return &output{dst: w, w: bufio.NewWriterSize(w, 32<<10)} }

func (o *output) Write(b []byte) (int, error) {
	n, err := o.w.Write(b)
	return n, o.keep(err)
}

// Flush writes what is held back.
func (o *output) Flush() error { return o.keep(o.w.Flush()) }

func (o *output) keep(err error) error {
	if err != nil && o.err == nil {
		o.err = err
	}
	return o.err
}

// object prints v as JSON on one line.
func (o *output) object(v any) error {
	e := json.NewEncoder(o)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
