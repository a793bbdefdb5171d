package control

import (
	"errors"
	"testing"
)

// TestSyncPeer: addresses of both families, the groups in all their spellings,
// and what reaches nobody.
func TestSyncPeer(t *testing.T) {
	tests := []struct{ arg, want string }{
		{"10.0.0.2", "10.0.0.2"}, {"::ffff:10.0.0.2", "10.0.0.2"}, {"fe80::2%em2", "fe80::2%em2"}, {"2001:db8::2", "2001:db8::2"},
		{"224.0.0.240", "invalid IP"}, {"0.0.0.0", "invalid IP"}, {"::", "ff12::f0"}, {"ff12::f0", "ff12::f0"}, {"ff12::f0%em2", "ff12::f0"},
		{"ff02::f0", ""}, {"224.0.0.1", ""}, {"255.255.255.255", ""}, {"::1", ""}, {"fw-b", ""},
	}
	for _, tt := range tests {
		var c Config
		err := setSyncPeer(&c, tt.arg)
		if tt.want == "" {
			if err == nil || !errors.Is(err, ErrInvalid) && !errors.Is(err, errAddress) {
				t.Errorf("%s: %v", tt.arg, err)
			}
			continue
		}
		if err != nil || c.SyncPeer.String() != tt.want {
			t.Errorf("%s: %s, %v; want %s", tt.arg, c.SyncPeer, err, tt.want)
		}
	}
}
