package send

// Reason says why a message is not secured, or was dropped. The zero value means neither.
type Reason uint8

// Reasons in the order of the tests. Those marked with * drop the message always; for the others it is delivered as
// unsecured where the link's mode is mixed (RFC 3971 section 8).
const (
	ReasonNone            Reason = iota
	ReasonLooped                 // * solicitation with a nonce of ours: our own came back (RFC 7527)
	ReasonUnsigned               // no signature option
	ReasonUnmarked               // router solicitation from :: with neither timestamp nor nonce
	ReasonMalformed              // * an option of SEND has a form that it can't have
	ReasonNoTimestamp            // * a signature, but no timestamp
	ReasonNoNonce                // * a signed solicitation without nonce
	ReasonNoCGA                  // no CGA option where there must be one
	ReasonProxy                  // neighbour advertisement for an address that is not its source
	ReasonCGAFormat              // the CGA parameters can't be read
	ReasonKey                    // the public key is no RSA key in DER
	ReasonKeySmall               // the modulus has less than Config.MinBits
	ReasonKeyLarge               // the modulus has more than Config.MaxBits
	ReasonCGA                    // the address is not a CGA of the parameters
	ReasonKeyHash                // * the signature option names another key than the CGA option
	ReasonSignatureLength        // the signature is shorter than the modulus
	ReasonNoPath                 // no certification path covers the key
	ReasonRange                  // redirect to a neighbour whose address the router may not advertise
	ReasonNonce                  // * unicast advertisement with a nonce that is none of ours
	ReasonTimestamp              // * the timestamp is not within Delta of our clock
	ReasonReplayed               // * the timestamp has not gone on since the peer's last one
	ReasonBusy                   // * as much of this link-layer source waits already as may
	ReasonFull                   // * as much waits already as may
	ReasonPaths                  // as many certification paths are looked for already as may be
	ReasonSignature              // the signature is wrong
	ReasonLost                   // * the queue of RSA jobs was full
	ReasonLate                   // * RSA took too long
	reasonCount
)

// Reasons is the number of Reason values, for tables of counters.
const Reasons = int(reasonCount)

var reasonNames = [reasonCount]string{
	ReasonNone:            "ok",
	ReasonLooped:          "looped_back",
	ReasonUnsigned:        "no_signature",
	ReasonUnmarked:        "no_timestamp_nor_nonce",
	ReasonMalformed:       "malformed_option",
	ReasonNoTimestamp:     "no_timestamp",
	ReasonNoNonce:         "no_nonce",
	ReasonNoCGA:           "no_cga",
	ReasonProxy:           "proxy",
	ReasonCGAFormat:       "malformed_cga",
	ReasonKey:             "bad_key",
	ReasonKeySmall:        "key_too_small",
	ReasonKeyLarge:        "key_too_large",
	ReasonCGA:             "bad_cga",
	ReasonKeyHash:         "key_hash",
	ReasonSignatureLength: "signature_length",
	ReasonNoPath:          "no_path",
	ReasonRange:           "prefix_not_certified",
	ReasonNonce:           "nonce",
	ReasonTimestamp:       "timestamp",
	ReasonReplayed:        "replayed",
	ReasonBusy:            "source_limit",
	ReasonFull:            "limit",
	ReasonPaths:           "path_limit",
	ReasonSignature:       "bad_signature",
	ReasonLost:            "queue_full",
	ReasonLate:            "too_late",
}

// String gives the name that counters have it under.
func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return "unknown"
}

// final reports whether a message that fails so is dropped in mixed mode, too.
func (r Reason) final() bool {
	switch r {
	case ReasonLooped, ReasonMalformed, ReasonNoTimestamp, ReasonNoNonce, ReasonKeyHash, ReasonNonce, ReasonTimestamp,
		ReasonReplayed, ReasonBusy, ReasonFull, ReasonLost, ReasonLate:
		return true
	}
	return false
}
