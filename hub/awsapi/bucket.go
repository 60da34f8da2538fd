package awsapi

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/aws/smithy-go/middleware"
	"golang.org/x/time/rate"

	"peerhub/hub"
)

// class groups actions that share a bucket here. AWS has one per action; sharing is
// the careful side.
type class uint8

const (
	reads    class = iota // Describe*
	routes                // CreateRoute, ReplaceRoute, DeleteRoute
	peerings              // the slowest class: accept, create, delete, reject
	tags                  // CreateTags, DeleteTags
)

// budgets are AWS's published buckets (ec2-api-throttling: burst, then per second)
// less a margin, because the account's other users draw from the same ones:
// Describe 100/20, routes and peerings 50/5, tags 100/10.
var budgets = [...]struct {
	burst     int
	perSecond rate.Limit
}{
	reads:    {80, 16},
	routes:   {48, 5},
	peerings: {45, 4.5},
	tags:     {90, 9},
}

func classOf(operation string) class {
	switch {
	case strings.HasPrefix(operation, "Describe"):
		return reads
	case operation == "CreateTags" || operation == "DeleteTags":
		return tags
	case strings.HasSuffix(operation, "Route"):
		return routes
	}
	return peerings
}

// buckets pace the calls of all clients.
type buckets struct {
	mu  sync.Mutex
	all map[bucketKey]*rate.Limiter
}

type bucketKey struct {
	scope hub.Scope
	class class
}

func newBuckets() *buckets { return &buckets{all: map[bucketKey]*rate.Limiter{}} }

func (b *buckets) limiter(scope hub.Scope, c class) *rate.Limiter {
	b.mu.Lock()
	defer b.mu.Unlock()
	key := bucketKey{scope, c}
	l := b.all[key]
	if l == nil {
		l = rate.NewLimiter(budgets[c].perSecond, budgets[c].burst)
		b.all[key] = l
	}
	return l
}

// paced takes one token per attempt, inside the retry loop and before signing. When AWS
// says that it was asked too often, the bucket is emptied: somebody else drew from AWS's,
// and there must be no burst afterwards.
func (b *buckets) paced(scope hub.Scope) func(*middleware.Stack) error {
	return func(stack *middleware.Stack) error {
		return stack.Finalize.Insert(middleware.FinalizeMiddlewareFunc("peerhubPace", func(ctx context.Context, in middleware.FinalizeInput, next middleware.FinalizeHandler) (
			middleware.FinalizeOutput, middleware.Metadata, error) {
			l := b.limiter(scope, classOf(middleware.GetOperationName(ctx)))
			if err := l.Wait(ctx); err != nil {
				return middleware.FinalizeOutput{}, middleware.Metadata{}, fmt.Errorf("%w (%s)", ErrPaced, err.Error())
			}
			if n, ok := ctx.Value(attemptsKey{}).(*int); ok {
				*n++
			}
			out, meta, err := next.HandleFinalize(ctx, in)
			if IsThrottled(err) {
				now := time.Now()
				if n := int(l.TokensAt(now)); n > 0 {
					l.AllowN(now, n)
				}
			}
			return out, meta, err
		}), "Retry", middleware.After)
	}
}

type attemptsKey struct{}

// CountAttempts returns a context for one call, and where the number of requests that
// it took is found afterwards. More than one means that an earlier one may have been
// carried out although its answer was lost.
func CountAttempts(ctx context.Context) (context.Context, *int) {
	n := new(int)
	return context.WithValue(ctx, attemptsKey{}, n), n
}
