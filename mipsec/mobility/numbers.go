package mobility

// Mobility header types (IANA, Mobility Header Types).
const (
	TypeBRR             = 0  // Binding Refresh Request, RFC 6275 section 6.1.2
	TypeHoTI            = 1  // Home Test Init
	TypeCoTI            = 2  // Care-of Test Init
	TypeHoT             = 3  // Home Test
	TypeCoT             = 4  // Care-of Test
	TypeBU              = 5  // Binding Update, section 6.1.7
	TypeBA              = 6  // Binding Acknowledgement, section 6.1.8
	TypeBE              = 7  // Binding Error, section 6.1.9
	TypeFBU             = 8  // Fast Binding Update, RFC 5568 section 6.2.2
	TypeFBack           = 9  // Fast Binding Acknowledgement, section 6.2.3
	TypeFNA             = 10 // Fast Neighbor Advertisement, RFC 4068 section 6.3.3, deprecated
	TypeExperimental    = 11 // RFC 5096
	TypeHomeAgentSwitch = 12 // RFC 5142
	TypeHeartbeat       = 13 // RFC 5847
	TypeHI              = 14 // Handover Initiate, RFC 5568 section 6.2.1.1
	TypeHAck            = 15 // Handover Acknowledge, section 6.2.1.2
)

// Mobility option types (IANA, Mobility Options).
const (
	OptPad1              = 0
	OptPadN              = 1
	OptRefreshAdvice     = 2  // Binding Refresh Advice, RFC 6275 section 6.2.4
	OptAlternateCareOf   = 3  // section 6.2.5
	OptNonceIndices      = 4  // section 6.2.6
	OptBindingAuth       = 5  // Binding Authorization Data, section 6.2.7
	OptLinkLayerAddress  = 7  // RFC 5568 section 6.4.4
	OptReplayProtection  = 10 // Mobility Message Replay Protection, RFC 4285 section 6
	OptFastBindingAuth   = 21 // Binding Authorization Data for FMIPv6, RFC 5568 section 6.4.5
	OptRestartCounter    = 28 // RFC 5847 section 3.3
	OptIPv6AddressPrefix = 34 // RFC 5568 section 6.4.2
)

// Flags of a BindingUpdate, as they stand in its 16-bit flags field. A FastBindingUpdate has the first four.
const (
	FlagAck          = 0x8000 // A, RFC 6275
	FlagHome         = 0x4000 // H
	FlagLinkLocal    = 0x2000 // L
	FlagKey          = 0x1000 // K
	FlagMAP          = 0x0800 // M, RFC 5380
	FlagMobileRouter = 0x0400 // R, RFC 3963
	FlagProxy        = 0x0200 // P, RFC 5213
	FlagUDP          = 0x0100 // F, RFC 5555
	FlagTLV          = 0x0080 // T, RFC 5845
	FlagBulk         = 0x0040 // B, RFC 6602
)

// Status codes of a BindingAck (RFC 6275 section 6.1.8, RFC 6618 for the last), also used by KeyExchangeAck and
// Finished, for which their draft defines none. A value under 128 means that the request was accepted.
const (
	StatusAccepted           = 0
	StatusPrefixDiscovery    = 1 // accepted, but prefix discovery is necessary
	StatusUnspecified        = 128
	StatusProhibited         = 129
	StatusResources          = 130
	StatusHomeRegistration   = 131 // home registration not supported
	StatusNotHomeSubnet      = 132
	StatusNotHomeAgent       = 133 // not home agent for this mobile node; no LBSA
	StatusDADFailed          = 134
	StatusSequence           = 135 // sequence number out of window
	StatusExpiredHomeNonce   = 136
	StatusExpiredCareOfNonce = 137
	StatusExpiredNonces      = 138
	StatusTypeChange         = 139 // registration type change disallowed
	StatusInvalidCareOf      = 174
	StatusReinitSAWithHAC    = 176 // RFC 6618
)

// Status codes of a BindingError (RFC 6275 section 6.1.9).
const (
	ErrorUnknownBinding   = 1 // unknown binding for Home Address destination option
	ErrorUnrecognizedType = 2 // unrecognized MH Type value
)

// Status codes of a FastBindingAck (RFC 5568 section 6.2.3) beside 0 and 128 to 130, which mean what they do elsewhere.
const (
	FastStatusUseSupplied = 1   // accepted, but the new care-of address is invalid: use the one in the Alternate CoA option
	FastStatusInterfaceID = 131 // incorrect interface identifier length
)

// Codes of a HandoverAck (RFC 5568 section 6.2.1.2).
const (
	HandoverAccepted         = 0
	HandoverAddressInvalid   = 1 // accepted; the new care-of address is not valid or in use
	HandoverAddressAssigned  = 2 // accepted; the new care-of address is assigned
	HandoverUsePrevious      = 3 // accepted; use the previous care-of address
	HandoverUnsolicited      = 4 // sent to trigger a HandoverInitiate
	HandoverRefused          = 128
	HandoverProhibited       = 129
	HandoverResources        = 130
	handoverFlagAssigned     = 0x80
	handoverFlagBuffer       = 0x40
	linkLayerOfMobileNode    = 2 // Option-Code of the MH-LLA option
	addressPreviousCareOf    = 1 // Option-Codes of the IPv6 Address/Prefix option
	addressNewCareOf         = 2
	optIPv6AddressMisprinted = 17 // what RFC 5568 section 6.4.2 prints where its section 10 registers 34
)

const (
	payloadProtoNone = 59

	unit            = 8 // octets: headers are multiples of it
	maxHeaderOctets = 256 * unit

	headOctets     = 6  // up to and with the checksum
	bindingOctets  = 12 // fixed part of BU, BA, FBU, FBack, and of LKE's acknowledgement
	finishedOctets = 16
	handoverOctets = 10 // fixed part of HI and HAck

	authenticatorOctets  = 12 // First(96, ...)
	keyExchangeMACOctets = 20 // a whole HMAC-SHA1
	keyExchangeData      = 8  // where the encrypted key begins
	finishedRequestData  = 6
	replayData           = 8
)

// Values of the SPI in a FastAuth, which says of what kind the key is.
const (
	SPIHandoverKey = 0 // of a mobile node and its router: that of RFC 5269 (RFC 5568 section 6.4.5)
	SPIPairKey     = 1 // of two routers: this project's, for [SignHandover]
)

// CodePoints are the numbers of Local Key Exchange. They collide with numbers that IANA gave to others later, so that
// they can be configured. The draft's own are those of [DefaultCodePoints].
type CodePoints struct {
	KeyExchangeRequest, KeyExchangeAck, Finished        uint8 // mobility header types
	OptLifetime, OptRouter, OptHMAC, OptFinishedRequest uint8 // mobility option types
}

// DefaultCodePoints gives the numbers of draft-liu-mobileip-lke-01: header types 8, 9, 10 and options 3, 4, 5, 6.
func DefaultCodePoints() CodePoints {
	return CodePoints{
		KeyExchangeRequest: 8, KeyExchangeAck: 9, Finished: 10,
		OptLifetime: 3, OptRouter: 4, OptHMAC: 5, OptFinishedRequest: 6,
	}
}

// MinHeaderLen gives the least Header Len of the LKE message that typ stands for, and whether it is one. A
// KeyExchangeRequest holds at least an RSA-1024 ciphertext. It serves [Check] where the packet around a header says that
// LKE is spoken.
func (cp CodePoints) MinHeaderLen(typ uint8) (n uint8, known bool) {
	switch typ {
	case cp.KeyExchangeRequest:
		return 17, true
	case cp.KeyExchangeAck:
		return 6, true
	case cp.Finished:
		return 3, true
	}
	return 0, false
}

// MinHeaderLen gives the least Header Len of IANA's mobility header type typ (in units of 8 octets beyond the first 8),
// and whether the type is one of the 16 that this package knows.
func MinHeaderLen(typ uint8) (n uint8, known bool) {
	switch typ {
	case TypeBRR, TypeFNA, TypeExperimental, TypeHomeAgentSwitch:
		return 0, true
	case TypeHoTI, TypeCoTI, TypeBU, TypeBA, TypeFBU, TypeFBack, TypeHeartbeat, TypeHI, TypeHAck:
		return 1, true
	case TypeHoT, TypeCoT, TypeBE:
		return 2, true
	}
	return 0, false
}
