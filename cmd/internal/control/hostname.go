package control

import (
	"errors"
	"fmt"
	"strings"
)

// parseHostname reads OpenBSD's hostname.if(5): a line is words for the
// interface, or a command after "!"; empty lines and comments are skipped.
func parseHostname(st *Start, name string, lines [][]byte) error {
	for i, b := range lines {
		line := strings.TrimSpace(string(b))
		it := StartItem{File: st.File, Line: i + 1}
		switch {
		case line == "" || line[0] == '#':
			continue
		case line[0] == '!':
			it.Command = strings.ReplaceAll(strings.TrimSpace(line[1:]), "$if", name)
			if it.Command == "" {
				continue
			}
		default:
			args, err := splitShell(line)
			if err == nil {
				it.Set, err = ParseWords(args)
			}
			if err != nil {
				return st.lineError(it.Line, err)
			}
		}
		st.Items = append(st.Items, it)
	}
	return nil
}

var errQuote = errors.New("quote without its end")

// splitShell splits a line as the shell of netstart(8) does that evaluates it:
// white space, both quotes, backslash, and a comment at the start of a word.
// What else the shell would do something with is an error.
func splitShell(line string) ([]string, error) {
	var args []string
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" || line[0] == '#' {
			return args, nil
		}
		arg, rest, err := shellWord(line)
		if err != nil {
			return nil, err
		}
		args, line = append(args, arg), rest
	}
}

// shellWord takes one word off the front of line.
func shellWord(line string) (arg, rest string, err error) {
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch c := line[i]; c {
		case ' ', '\t', '\r':
			return b.String(), line[i:], nil
		case '\'', '"':
			end := quoteEnd(line[i+1:], c)
			if end < 0 {
				return "", "", errQuote
			}
			b.WriteString(unquote(line[i+1:i+1+end], c))
			i += end + 1
		case '\\':
			if i++; i == len(line) {
				return "", "", errors.New("line ends in a backslash")
			}
			b.WriteByte(line[i])
		case '$', '`', ';', '&', '|', '<', '>', '(', ')', '*', '?':
			return "", "", fmt.Errorf("%q: only words, quotes and comments are understood here; commands start with an exclamation mark", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String(), "", nil
}

// quoteEnd finds the quote that closes, -1 if there is none.
func quoteEnd(s string, quote byte) int {
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == quote:
			return i
		case s[i] == '\\' && quote == '"':
			i++
		}
	}
	return -1
}

// unquote removes the backslashes that mean something in double quotes.
func unquote(s string, quote byte) string {
	if quote == '\'' {
		return s
	}
	return strings.NewReplacer(`\\`, `\`, `\"`, `"`, `\$`, `$`, "\\`", "`").Replace(s)
}
