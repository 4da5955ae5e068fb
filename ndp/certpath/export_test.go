package certpath

// KeyID is for the tests' own certificates.
var KeyID = keyID
