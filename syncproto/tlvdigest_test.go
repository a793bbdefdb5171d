package syncproto_test

import (
	. "github.com/pfsync/pfsync/syncproto"
)

var (
	oneWant  = WantDigests{Buckets: 1024, First: 17, Count: 124}
	twoItems = []Item{
		{ID: ID{ID: 1 << 63, CreatorID: 2}, Digest: 3, Flags: ItemCarried | ItemChanging},
		{ID: ID{ID: 4, CreatorID: 5}, Digest: 6, Flags: ItemRefused},
	}
	twoFound = []Found{{ID: ID{ID: 7, CreatorID: 8}, How: FoundGone}, {ID: ID{ID: 9, CreatorID: 10}, How: FoundNew}}
	twoLack  = []ID{{ID: 11, CreatorID: 12}, {ID: 13, CreatorID: 14}}
)

// digestTLVs is a list with one of each with which tables are compared.
func digestTLVs() []byte {
	b := AppendWantDigests(nil, &oneWant)
	b = AppendBucket(b, &Bucket{Buckets: 1024, Number: 9, Total: 7, First: 5}, twoItems)
	b = AppendLook(b, 4711)
	b = AppendLooked(b, &Looked{Number: 4711, Total: 99}, twoFound)
	return AppendLack(b, twoLack)
}

// wantDigestTLVs is what parseDigests makes of them.
func wantDigestTLVs() map[TLV]any {
	return map[TLV]any{
		TLVWantDigests: oneWant,
		TLVBucket:      [5]any{uint16(1024), uint16(9), uint16(7), uint16(5), twoItems},
		TLVLook:        uint32(4711),
		TLVLooked:      [3]any{uint32(4711), uint32(99), twoFound},
		TLVLack:        twoLack,
	}
}

// parseDigests reads a value by every parser, whatever its type, and notes what
// each made of it.
func parseDigests(v []byte, got map[TLV]any) {
	var (
		want   WantDigests
		bucket Bucket
		look   uint32
		looked Looked
		items  []Item
		found  []Found
		lack   []ID
	)
	if ParseWantDigests(v, &want) == nil {
		got[TLVWantDigests] = want
	}
	if ParseBucket(v, &bucket) == nil {
		for i := range bucket.Len() {
			items = append(items, bucket.At(i))
		}
		got[TLVBucket] = [5]any{bucket.Buckets, bucket.Number, bucket.Total, bucket.First, items}
	}
	if ParseLook(v, &look) == nil {
		got[TLVLook] = look
	}
	if ParseLooked(v, &looked) == nil {
		for i := range looked.Len() {
			found = append(found, looked.At(i))
		}
		got[TLVLooked] = [3]any{looked.Number, looked.Total, found}
	}
	for id, rest, ok := NextLack(v); ok; id, rest, ok = NextLack(rest) {
		lack = append(lack, id)
	}
	got[TLVLack] = lack
}
