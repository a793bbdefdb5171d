package text

import "fmt"

// Vis returns a name that came from a peer as it may be shown on a terminal:
// encoded as vis(3) does, with white space encoded too.
func Vis(s string) string {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '\\' {
			return string(appendVis(nil, s))
		}
	}
	return s
}

// appendVis appends a name as vis(3) encodes it with white space encoded too.
func appendVis(b []byte, s string) []byte {
	for i := range len(s) {
		b = appendVisByte(b, s[i])
	}
	return b
}

func appendVisByte(b []byte, c byte) []byte {
	switch {
	case c == '\\':
		return append(b, `\\`...)
	case c > ' ' && c < 0x7f:
		return append(b, c)
	case c&0x7f == ' ':
		return fmt.Appendf(b, `\%03o`, c)
	}
	b = append(b, '\\')
	if c&0x80 != 0 {
		b = append(b, 'M')
		c &= 0x7f
	}
	switch {
	case c == 0x7f:
		return append(b, "^?"...)
	case c < ' ':
		return append(b, '^', c+'@')
	}
	return append(b, '-', c)
}
