package doctor

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

// ruleset reads all rules of the network namespace: nftables, then what is only
// to be had of iptables.
func (h *Host) ruleset(ctx context.Context) (*ruleset, error) {
	set := newRuleset()
	text, err := h.Run(ctx, "nft", "-j", "list", "ruleset")
	switch {
	case errors.Is(err, exec.ErrNotFound):
		text = nil // then the rules, if there are any, are iptables'
	case err != nil:
		return nil, fmt.Errorf("nft -j list ruleset: %w%s", err, stderr(err))
	}
	if text != nil {
		if err := h.nft(ctx, set, text); err != nil {
			return nil, err
		}
	}
	return set, h.legacy(ctx, set)
}

// nft adds nftables' rules. Tables made by iptables-nft have extensions in them
// that nft does not explain: for these iptables-nft-save is asked.
func (h *Host) nft(ctx context.Context, set *ruleset, text []byte) error {
	foreign, err := parseNft(newRuleset(), text, nil)
	if err != nil {
		return err
	}
	told := map[string]bool{}
	for family, program := range map[string]string{"ip": "iptables-nft-save", "ip6": "ip6tables-nft-save"} {
		if !anyOf(foreign, family+" ") {
			continue
		}
		if out, err := h.Run(ctx, program); err == nil {
			for _, name := range parseIPTables(set, string(out), family, "iptables") {
				told[table(family, name)] = true
			}
		}
	}
	_, err = parseNft(set, text, told)
	return err
}

func anyOf(set map[string]bool, prefix string) bool {
	for k := range set {
		if strings.HasPrefix(k, prefix) {
			return true
		}
	}
	return false
}

// legacy adds the rules of the old kernel interface, if it has tables: only to
// ask for one would make it.
func (h *Host) legacy(ctx context.Context, set *ruleset) error {
	for _, f := range []struct{ names, family, save, plain string }{
		{"ip_tables_names", "ip", "iptables-legacy-save", "iptables-save"},
		{"ip6_tables_names", "ip6", "ip6tables-legacy-save", "ip6tables-save"},
	} {
		names, err := h.read(procNet + f.names)
		if err != nil || strings.TrimSpace(names) == "" {
			continue
		}
		out, err := h.Run(ctx, f.save)
		if errors.Is(err, exec.ErrNotFound) {
			out, err = h.Run(ctx, f.plain)
		}
		if err != nil {
			return fmt.Errorf("%s: %w%s", f.save, err, stderr(err))
		}
		parseIPTables(set, string(out), f.family, "iptables-legacy")
	}
	return nil
}

// stderr is the first line of what a failed program said.
func stderr(err error) string {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return ""
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(exit.Stderr)), "\n")
	if line == "" {
		return ""
	}
	return ": " + line
}
