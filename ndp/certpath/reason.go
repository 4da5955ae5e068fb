package certpath

// Reason says why a certificate or a path is not accepted. It is an error, which those of this package wrap, so that errors.Is
// finds it. The zero value is none.
type Reason uint8

// Reasons.
const (
	ReasonNone             Reason = iota
	ReasonEmpty                   // a path without certificates
	ReasonTooLong                 // more than MaxCertificates
	ReasonParse                   // not one X.509 certificate of version 3 in DER
	ReasonAnchor                  // issued by none of the trust anchors
	ReasonIssuer                  // issued by another than the certificate above it
	ReasonKeyID                   // key identifiers missing, wrong, or not those of the issuer
	ReasonAlgorithm               // signed by an algorithm that the profile has not
	ReasonSignature               // the issuer did not sign it
	ReasonNotYet                  // not valid yet
	ReasonExpired                 // valid no more
	ReasonCritical                // an extension that must not be passed over, and is not known here
	ReasonNoAuthority             // not the last of the path, and not an authority's
	ReasonAuthority               // the last of the path, and an authority's
	ReasonPathLength              // deeper under an authority than that one's path length constraint lets
	ReasonKeyUsage                // key usage does not fit its place
	ReasonNoPurpose               // no key purpose of SEND
	ReasonPurpose                 // key purposes of SEND, but not the one asked for
	ReasonKeyType                 // not an RSA key
	ReasonKeySize                 // an RSA key that is too short, too long or unsafe
	ReasonNoAddresses             // without the extension that tells its addresses, or that is not critical
	ReasonAddressBlocks           // that extension is malformed
	ReasonAddresses               // addresses that its issuer has not
	ReasonTooManyAddresses        // addresses that are more than MaxPrefixes prefixes
	ReasonProfile                 // a field that RFC 6487 forbids
	reasonCount
)

// Reasons is the number of Reason values, for tables of counters.
const Reasons = int(reasonCount)

var reasonNames = [reasonCount]struct{ counter, text string }{
	ReasonNone:             {"ok", "the certification path is valid"},
	ReasonEmpty:            {"path_empty", "a certification path without certificates"},
	ReasonTooLong:          {"path_too_long", "a certification path of too many certificates"},
	ReasonParse:            {"certificate_malformed", "not one X.509 version 3 certificate in DER"},
	ReasonAnchor:           {"certificate_of_other_anchor", "issued by none of the trust anchors"},
	ReasonIssuer:           {"certificate_of_other_issuer", "issued by another than the certificate above it"},
	ReasonKeyID:            {"certificate_bad_key_identifier", "key identifiers are missing, or are not those of the keys"},
	ReasonAlgorithm:        {"certificate_bad_algorithm", "signed by an algorithm that the profile does not allow"},
	ReasonSignature:        {"certificate_bad_signature", "not signed by its issuer"},
	ReasonNotYet:           {"certificate_not_yet_valid", "not valid yet; is the clock right?"},
	ReasonExpired:          {"certificate_expired", "not valid any more; is the clock right?"},
	ReasonCritical:         {"certificate_unknown_critical", "a critical extension that is not known here"},
	ReasonNoAuthority:      {"certificate_not_an_authority", "issued a certificate without being an authority"},
	ReasonAuthority:        {"certificate_is_an_authority", "an authority's certificate where the router's has to be"},
	ReasonPathLength:       {"certificate_too_deep", "deeper under an authority than its path length constraint allows"},
	ReasonKeyUsage:         {"certificate_bad_key_usage", "key usage does not fit"},
	ReasonNoPurpose:        {"certificate_no_send_purpose", "no key purpose of SEND (RFC 6494 section 7)"},
	ReasonPurpose:          {"certificate_other_purpose", "key purpose of SEND, but not a router's"},
	ReasonKeyType:          {"certificate_not_rsa", "not an RSA key, which SEND needs"},
	ReasonKeySize:          {"certificate_bad_key_size", "an RSA key that is too short or too long"},
	ReasonNoAddresses:      {"certificate_no_addresses", "no critical extension that tells its addresses (RFC 3779)"},
	ReasonAddressBlocks:    {"certificate_bad_addresses", "malformed addresses (RFC 3779)"},
	ReasonAddresses:        {"certificate_foreign_addresses", "addresses that its issuer does not have"},
	ReasonTooManyAddresses: {"certificate_too_many_addresses", "addresses of too many prefixes"},
	ReasonProfile:          {"certificate_breaks_profile", "a field that its profile forbids (RFC 6487)"},
}

// String gives the counter name of the reason.
func (r Reason) String() string {
	if r < reasonCount {
		return reasonNames[r].counter
	}
	return "certificate_unknown"
}

// Error tells what is wrong.
func (r Reason) Error() string {
	if r < reasonCount {
		return reasonNames[r].text
	}
	return "unknown reason"
}
