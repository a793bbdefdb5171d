package top

import (
	"fmt"
	"reflect"
	"strings"

	"github.com/pfsync/pfsync/cmd/internal/control"
)

// historySize is the widest sparkline.
const historySize = 256

// history is the rates of the last samples, the newest last.
type history struct {
	v []float64
}

func (h *history) add(v float64) {
	n := append([]float64(nil), h.v[max(0, len(h.v)-historySize+1):]...) // a model is a value
	h.v = append(n, v)
}

func (h *history) now() float64 {
	if len(h.v) == 0 {
		return 0
	}
	return h.v[len(h.v)-1]
}

func (h *history) peak() (p float64) {
	for _, v := range h.v {
		p = max(p, v)
	}
	return p
}

// Levels of a sparkline; what is not 0 is not shown as 0.
var (
	blocks = []rune(" ▁▂▃▄▅▆▇█")
	ascii  = []rune(" .:-=+*#@")
)

// spark draws the last width samples.
func (h *history) spark(width int, levels []rune) string {
	v := h.v[max(0, len(h.v)-max(0, width)):]
	peak := 0.0
	for _, x := range v {
		peak = max(peak, x)
	}
	var b strings.Builder
	for _, x := range v {
		i := 0
		if x > 0 {
			i = min(1+int(x/peak*float64(len(levels)-1)), len(levels)-1)
		}
		b.WriteRune(levels[i])
	}
	return b.String()
}

// rate is a second's share; a counter that went back is of another daemon.
func rate(was, is uint64, sec float64) float64 {
	if is < was {
		return 0
	}
	return float64(is-was) / sec
}

func messages(counts []control.Count) (n uint64) {
	for _, c := range counts {
		n += c.Count
	}
	return n
}

// counterMap is all counters by name; those of messages with their direction.
func counterMap(st control.Stats) map[string]uint64 {
	m := map[string]uint64{}
	for _, c := range st.In {
		m[c.Name+" in"] = c.Count
	}
	for _, c := range st.Out {
		m[c.Name+" out"] = c.Count
	}
	for name, v := range st.Reasons {
		m[name] = v
	}
	v := reflect.ValueOf(st.Counters)
	for i := range v.NumField() {
		m[v.Type().Field(i).Tag.Get("json")] = v.Field(i).Uint()
	}
	return m
}

// short prints a number in at most five characters.
func short(v float64) string {
	units := []string{"", "k", "M", "G", "T"}
	i := 0
	for v >= 10000 && i < len(units)-1 {
		v /= 1000
		i++
	}
	if i == 0 && v != float64(int(v)) && v < 10 {
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f%s", v, units[i])
}
