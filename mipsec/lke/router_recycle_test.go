package lke

import (
	"testing"
)

// A recycled slice serves the next step, holds nothing of the last one, and is not kept if it is large.
func TestRouterRecycles(t *testing.T) {
	r := NewRouter(RouterConfig{})
	r.emit(Effect{Kind: EffectSave, Record: &Record{Key: [KeyLen]byte{1}}})
	first := r.takeEffects()
	r.Recycle(first)
	if first[0].Record != nil {
		t.Fatal("a record with its key is kept")
	}
	r.emit(Effect{Kind: EffectSend})
	second := r.takeEffects()
	if &second[0] != &first[0] || len(second) != 1 || second[0].Kind != EffectSend {
		t.Fatalf("the memory was not used again: %v", second)
	}
	if r.takeEffects() != nil {
		t.Fatal("effects without a step")
	}
	r.Recycle(make([]Effect, maxSpare+1))
	if r.spare != nil {
		t.Fatal("a large slice is kept")
	}
}
