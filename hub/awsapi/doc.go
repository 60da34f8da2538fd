// Package awsapi opens AWS accounts: one EC2 client per account and region, with
// the hub's own credentials or an assumed role, all over one HTTP client.
//
// Contract: whatever comes back without an error is an answer of the service that
// was asked. The SDK alone would take an empty page, a proxy's HTML or a foreign
// document with status 200 for "nothing there"; here each of them is an error, as
// is an answer without a request id, one larger than the limit and a redirect. An
// assumed role must turn out to be in the account it was asked for.
//
// Be aware:
//   - Calls are paced below AWS's published buckets, per account, region and class.
//     A call that the caller's deadline does not leave time for fails with ErrPaced
//     and has not been sent.
//   - Plain http is refused on the wire, however the endpoint was configured, unless
//     Options.AllowInsecure says otherwise.
//   - Codes of AWS are judged in errors.go only.
//   - Never link text/template or html/template beside the EC2 client: the binary
//     grows by 30 MB.
package awsapi
