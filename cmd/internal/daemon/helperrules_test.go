package daemon

import "fmt"

// helperRules let one of the kernel's helpers read in connections of a protocol
// to a port, and drop of what is new that which matches.
func helperRules(helper, proto string, port int, dropped string) string {
	return fmt.Sprintf(`
table inet %[1]s {
	ct helper std {
		type "%[1]s" protocol %[2]s
	}
	chain helpers {
		type filter hook prerouting priority filter;
		%[2]s dport %[3]d ct state new ct helper set "std"
	}
	chain forward {
		type filter hook forward priority filter - 1;
		ct state new meta l4proto %[4]s counter drop
	}
}
`, helper, proto, port, dropped)
}
