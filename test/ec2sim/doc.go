// Package ec2sim is a simulated AWS: EC2 Query protocol, STS and IMDSv2 over
// HTTP, with the rules of the real one as far as docs/lab.md lists them. It uses
// the standard library only and knows nothing of the hub.
package ec2sim
