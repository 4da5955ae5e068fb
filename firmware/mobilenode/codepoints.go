package mobilenode

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/roamkey/roamkey/mipsec/mobility"
	"github.com/roamkey/roamkey/ndp"
)

// ParseCodePoints reads "name=number,..." and gives the draft's numbers with these changes. The names are those of
// roamkeyd's settings.
func ParseCodePoints(text string) (mobility.CodePoints, ndp.CodePoints, error) {
	mh, nd := mobility.DefaultCodePoints(), ndp.DefaultCodePoints()
	names := map[string]*uint8{
		"key_exchange_request": &mh.KeyExchangeRequest, "key_exchange_ack": &mh.KeyExchangeAck, "finished": &mh.Finished,
		"opt_lifetime": &mh.OptLifetime, "opt_router": &mh.OptRouter, "opt_hmac": &mh.OptHMAC,
		"opt_finished_request": &mh.OptFinishedRequest,
		"nd_capability":        &nd.Capability, "nd_auth_request": &nd.AuthRequest, "nd_auth_reply": &nd.AuthReply,
	}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		field := names[name]
		if field == nil {
			return mh, nd, fmt.Errorf("there is no code point %q: %s", name, strings.Join(slices.Sorted(maps.Keys(names)), ", "))
		}
		n, err := strconv.ParseUint(value, 10, 8)
		if err != nil {
			return mh, nd, fmt.Errorf("code point %s: %q is no number from 0 to 255", name, value)
		}
		*field = uint8(n)
	}
	return mh, nd, nil
}
