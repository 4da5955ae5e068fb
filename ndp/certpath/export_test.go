package certpath

// KeyID is for the tests' own certificates.
var KeyID = keyID

// Octets is how many octets of certificates wait to be verified.
func (c *Client) Octets() int {
	n := 0
	for _, g := range c.gatherings {
		for _, w := range g.waiting {
			n += len(w.der)
		}
	}
	if n != c.octets {
		panic("the octets that wait are miscounted")
	}
	return n
}

// Gatherings is how many paths have come in part.
func (c *Client) Gatherings() int { return len(c.gatherings) }

// Absent is how many keys are known to have no path.
func (c *Client) Absent() int { return len(c.absent) }
