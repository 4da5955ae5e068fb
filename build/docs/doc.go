// Package docs holds the documents to the code, by tests alone: every requirement of the draft and every resolution is
// named by a test, every setting and every counter stands in its table as the code has it, links lead somewhere, every
// package has its place in the house, and nothing says where on whose machine it was written.
package docs
