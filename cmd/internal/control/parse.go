package control

import (
	"fmt"
	"slices"
)

// ParseWords reads words and their arguments from left to right. It knows
// which words there are and which take an argument; values are checked by
// Config.Apply. The error is a *WordError.
func ParseWords(args []string) ([]Setting, error) {
	var set []Setting
	for len(args) > 0 {
		w, ok := LookupWord(args[0])
		if !ok {
			return nil, &WordError{Word: args[0], Err: unknownWord(args[0])}
		}
		s := Setting{Word: w.Name}
		args = args[1:]
		if w.Arg != "" {
			if len(args) == 0 {
				return nil, &WordError{Word: w.Name, Err: missingArgument(w)}
			}
			n := argLength(w, args)
			s.Arg = joinArg(args[:n])
			args = args[n:]
		}
		set = append(set, s)
	}
	return set, nil
}

// argLength is 2 for a filter given as two words, "nosync mark 1/1"; every
// other argument is one.
func argLength(w Word, args []string) int {
	two := FilterKind(args[0]) != FilterLocal && slices.Contains(FilterKinds(), FilterKind(args[0]))
	if w.Arg == "FILTER" && two && len(args) > 1 {
		return 2
	}
	return 1
}

func joinArg(args []string) string {
	if len(args) == 2 {
		return args[0] + " " + args[1]
	}
	return args[0]
}

func unknownWord(s string) error {
	names := make([]string, 0, len(words))
	for _, w := range words {
		names = append(names, w.Name)
	}
	if slices.Contains([]string{"inet", "inet6", "dest", "dhcp", "autoconf", "alias", "netmask"}, s) {
		return fmt.Errorf("%w: a pfsync interface has no address", ErrNoSuchWord)
	}
	if n := Nearest(s, names); n != "" {
		return fmt.Errorf("%w; did you mean %s?", ErrNoSuchWord, n)
	}
	return ErrNoSuchWord
}

// missingArgument has ifconfig's text, with what is wanted.
func missingArgument(w Word) error {
	e := &argumentError{word: w.Name, want: w.Arg}
	if w.Range != "" {
		e.want += ", " + w.Range
	}
	return e
}

// argumentError says that an argument is missing.
type argumentError struct{ word, want string }

func (e *argumentError) Error() string {
	return fmt.Sprintf("'%s' requires argument: %s", e.word, e.want)
}

func (e *argumentError) Unwrap() error { return ErrArgument }
