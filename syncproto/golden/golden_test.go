package golden

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"
)

func TestCases(t *testing.T) {
	for _, d := range Dialects {
		t.Run(d, func(t *testing.T) {
			cases := Cases(t, d)
			if len(cases) < 100 {
				t.Errorf("%d cases", len(cases))
			}
			for _, c := range cases {
				if len(c.Text) < 3 || len(c.Packets) == 0 {
					t.Errorf("%s: %d texts, %d packets", c.Name, len(c.Text), len(c.Packets))
				}
				for i, p := range c.Packets {
					if _, ok := p.Expect[Kernel(d)]; !ok {
						t.Errorf("%s: packet %d has no verdict", c.Name, i)
					}
					if sum := sha256.Sum256(p.Data); hex.EncodeToString(sum[:]) != p.SHA256 {
						t.Errorf("%s: packet %d: sum of the packet differs", c.Name, i)
					}
				}
			}
		})
	}
}
