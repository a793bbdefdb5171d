package cmd

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/pfsync/pfsync/syncproto"
)

// TestManualWire: the tables of pfsync(4) have every value of the Linux region,
// with its length, every flag of its first message and every action, and
// nothing else.
func TestManualWire(t *testing.T) {
	b, err := os.ReadFile("../man/pfsync.4")
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	rows := map[string]string{} // number of a type → length, "" for control
	for _, m := range regexp.MustCompile(`(?m)^\.It (\d+) Ta (\S+(?:, \S+)*) Ta \S`).FindAllStringSubmatch(page, -1) {
		rows[m[1]] = strings.NewReplacer(`\(en`, " to ", ", ", " or ").Replace(m[2])
	}
	for _, m := range regexp.MustCompile(`(?m)^\.It (\d+) Ta [a-z]`).FindAllStringSubmatch(page, -1) {
		if _, ok := rows[m[1]]; !ok && m[1] != "0" && m[1] != "1" && m[1] != "240" { // those are demotions
			rows[m[1]] = ""
		}
	}
	for number, length := range tlvs(t) {
		got, ok := rows[number]
		switch {
		case !ok:
			t.Errorf("type %s is not in pfsync.4", number)
		case got != "" && got != length:
			t.Errorf("type %s: length %q in pfsync.4, %q in tlv.go", number, got, length)
		}
		delete(rows, number)
	}
	for number := range rows {
		t.Errorf("pfsync.4 has a type %s, tlv.go has not", number)
	}
	for _, f := range []int{syncproto.InfoCarried, syncproto.InfoInSync, syncproto.InfoSending, syncproto.InfoDigests} {
		if !strings.Contains(page, fmt.Sprintf("0x%02x", f)) {
			t.Errorf("flag %#02x is not in pfsync.4", f)
		}
	}
	for _, a := range []syncproto.Action{syncproto.ActInsAck, syncproto.ActDelC, syncproto.ActUpdC, syncproto.ActIns, syncproto.ActUpd,
		syncproto.ActUpdReq, syncproto.ActBus, syncproto.ActClr} {
		row := fmt.Sprintf("\n.It %s Ta %d Ta ", a, a.Length(syncproto.Format6))
		if !strings.Contains(page, row) {
			t.Errorf("%q is not in pfsync.4", strings.TrimSpace(row))
		}
	}
}

// tlvs reads the constants of syncproto/tlv.go: number → length, as the comment
// begins.
func tlvs(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "../syncproto/tlv.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok || v.Comment == nil || len(v.Values) != 1 {
			return true
		}
		number, isNumber := v.Values[0].(*ast.BasicLit)
		length, _, hasLength := strings.Cut(v.Comment.Text(), ":")
		if isNumber && hasLength && strings.HasPrefix(v.Names[0].Name, "TLV") {
			found[number.Value] = length
		}
		return true
	})
	if len(found) < 20 {
		t.Fatalf("only %v", found)
	}
	return found
}
