package awsapi

import (
	"bufio"
	"bytes"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// rootWithin bounds where the root element of an answer must begin.
const rootWithin = 1024

// checked lets only real answers through. It sits innermost, around the request on
// the wire, and gives every call a deadline of its own on the outside.
func (s *Sessions) checked(stack *middleware.Stack) error {
	deadline := middleware.InitializeMiddlewareFunc("peerhubDeadline", func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (
		middleware.InitializeOutput, middleware.Metadata, error) {
		ctx, cancel := context.WithTimeout(ctx, s.opts.Limits.Call)
		defer cancel()
		return next.HandleInitialize(ctx, in)
	})
	if err := stack.Initialize.Add(deadline, middleware.Before); err != nil {
		return err
	}
	return stack.Deserialize.Add(middleware.DeserializeMiddlewareFunc("peerhubAnswer", s.answer), middleware.After)
}

// answer checks one attempt: the scheme before it is sent, and of a success the
// request id, the root element and, while it is read, the size.
func (s *Sessions) answer(ctx context.Context, in middleware.DeserializeInput, next middleware.DeserializeHandler) (
	middleware.DeserializeOutput, middleware.Metadata, error) {
	if req, ok := in.Request.(*smithyhttp.Request); ok && req.URL.Scheme != "https" && !s.opts.AllowInsecure {
		return middleware.DeserializeOutput{}, middleware.Metadata{}, fmt.Errorf("%s: %w", req.URL.Redacted(), ErrInsecure)
	}
	out, meta, err := next.HandleDeserialize(ctx, in)
	if err != nil {
		return out, meta, err
	}
	resp, ok := out.RawResponse.(*smithyhttp.Response)
	if !ok {
		return out, meta, fmt.Errorf("unexpected response %T", out.RawResponse)
	}
	resp.Body = &capped{ReadCloser: resp.Body, left: s.opts.Limits.Body}
	if resp.StatusCode != http.StatusOK {
		return out, meta, nil
	}
	if resp.Header.Get("X-Amzn-Requestid") == "" && resp.Header.Get("X-Amz-RequestId") == "" {
		return out, meta, ErrNoRequestID
	}
	body := bufio.NewReaderSize(resp.Body, rootWithin)
	head, err := body.Peek(rootWithin)
	if err != nil && !errors.Is(err, io.EOF) {
		return out, meta, fmt.Errorf("read the answer: %w", err)
	}
	if want := middleware.GetOperationName(ctx) + "Response"; root(head) != want {
		return out, meta, fmt.Errorf("%w: root element %q, want %q", ErrForeignBody, root(head), want)
	}
	resp.Body = readCloser{body, resp.Body}
	return out, meta, nil
}

// root is the local name of the first element, "" if there is none.
func root(head []byte) string {
	d := xml.NewDecoder(bytes.NewReader(head))
	for {
		t, err := d.RawToken()
		if err != nil {
			return ""
		}
		switch t := t.(type) {
		case xml.StartElement:
			return t.Name.Local
		case xml.CharData:
			if len(bytes.TrimSpace(t)) > 0 {
				return ""
			}
		}
	}
}

type readCloser struct {
	io.Reader
	io.Closer
}

// capped fails, rather than ends, when more than left bytes come: a cut document must
// not look like a short one.
type capped struct {
	io.ReadCloser
	left int64
}

func (c *capped) Read(p []byte) (int, error) {
	if c.left <= 0 {
		var one [1]byte
		n, err := c.ReadCloser.Read(one[:])
		if n > 0 {
			return 0, ErrBodyTooLarge
		}
		return 0, err
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.ReadCloser.Read(p)
	c.left -= int64(n)
	return n, err
}
