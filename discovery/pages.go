package discovery

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"

	"peerhub/hub/failpoint"
)

// errDoubt marks an answer that is complete in form and not believable.
var errDoubt = errors.New("the answer is not believable")

// maxPages bounds a listing: AWS's largest have a few hundred pages.
const maxPages = 1000

// pages collects a paginated listing: all of it, or an error. The SDK's own paginators
// stop without a word at a repeated token, or never.
func pages[T any](ctx context.Context, what string, call func(ctx context.Context, token *string) ([]T, *string, error)) ([]T, error) {
	var out []T
	seen := map[string]bool{}
	var token *string
	for n := 1; ; n++ {
		items, next, err := call(ctx, token)
		if err != nil && n > 1 && failpoint.Off("whole-pages") {
			return out, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s, page %d: %w", what, n, err)
		}
		out = append(out, items...)
		t := aws.ToString(next)
		switch {
		case t == "":
			return out, nil
		case seen[t]:
			return nil, fmt.Errorf("%s, page %d: %w: its token came before", what, n, errDoubt)
		case n == maxPages:
			return nil, fmt.Errorf("%s: %w: more than %d pages", what, errDoubt, maxPages)
		}
		seen[t] = true
		token = next
	}
}
