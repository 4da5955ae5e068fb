package engine

import "github.com/roamkey/roamkey/ipv6"

// Op is an RSA operation.
type Op uint8

// Operations, with what a Job needs and what a Result has.
const (
	Decrypt Op = iota // Octets: the ciphertext of a session key under LKE's key. Result: Key, always OK
	Sign              // Octets: a digest of DigestLen octets. Result: Octets, the signature under SEND's key
	Verify            // PublicKey, Octets: a digest, Signature. Result: OK if the signature is right
	Encrypt           // PublicKey, Octets: what is encrypted. Result: Octets, the ciphertext
	opCount
)

// String names the operation.
func (o Op) String() string {
	switch o {
	case Decrypt:
		return "decrypt"
	case Sign:
		return "sign"
	case Verify:
		return "verify"
	case Encrypt:
		return "encrypt"
	}
	return "unknown operation"
}

// Ticket is what a job is known by. The engine makes nothing of it.
type Ticket struct {
	Owner uint32 // who asked
	Job   uint64 // the owner's own number
}

// Bounds of a job in octets. A job with more than that in a field cannot be right; it is done as a wrong one.
const (
	maxOctets    = MaxBits / 8
	maxPublicKey = 600 // a SubjectPublicKeyInfo of MaxBits has 550
	maxSignature = MaxBits / 8
)

// Job is one operation to do.
type Job struct {
	Ticket
	Op     Op
	Source ipv6.LinkAddr // whom it counts to: the queue is fair between sources

	Octets    []byte
	PublicKey []byte // SubjectPublicKeyInfo in DER
	Signature []byte
}

// String hides what is to be encrypted from %v and from any logger.
func (j Job) String() string { return "job: " + j.Op.String() }

// GoString hides it from %#v.
func (j Job) GoString() string { return j.String() }

// fits reports whether the fields are within their bounds.
func (j *Job) fits() bool {
	return len(j.Octets) <= maxOctets && len(j.PublicKey) <= maxPublicKey && len(j.Signature) <= maxSignature
}

// Result is one operation that is done.
type Result struct {
	Ticket
	Op     Op
	OK     bool
	Key    [KeyLen]byte // of Decrypt
	Octets []byte       // of Sign and Encrypt; it belongs to the receiver
}

// String hides the key from %v and from any logger.
func (r Result) String() string { return "result of a job: " + r.Op.String() }

// GoString hides the key from %#v.
func (r Result) GoString() string { return r.String() }

// Do does job j by o as a worker does. A job with a field beyond its bounds is wrong; a wrong Decrypt is done like any other
// that holds no key.
func Do(o Operations, j *Job) Result {
	wrong := !j.fits()
	if wrong {
		j = &Job{Ticket: j.Ticket, Op: j.Op}
	}
	return do(o, j, wrong)
}

func do(o Operations, j *Job, wrong bool) Result {
	r := Result{Ticket: j.Ticket, Op: j.Op}
	var err error
	switch {
	case j.Op == Decrypt:
		o.Decrypt(&r.Key, j.Octets)
		r.OK = true
	case wrong:
	case j.Op == Sign && len(j.Octets) == DigestLen:
		r.Octets, err = o.Sign([DigestLen]byte(j.Octets))
		r.OK = err == nil
	case j.Op == Verify && len(j.Octets) == DigestLen:
		r.OK = o.Verify(j.PublicKey, [DigestLen]byte(j.Octets), j.Signature)
	case j.Op == Encrypt:
		r.Octets, err = o.Encrypt(j.PublicKey, j.Octets)
		r.OK = err == nil
	}
	if !r.OK {
		r.Octets = nil
	}
	return r
}
