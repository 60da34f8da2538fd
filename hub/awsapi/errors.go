package awsapi

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/aws/smithy-go"
)

// What is no answer at all. None of these is retried within a call: the next survey asks again.
var (
	// ErrNoRequestID is a success without AWS's request id: somebody else answered.
	ErrNoRequestID = errors.New("no answer: status 200 without a request id")
	// ErrForeignBody is a success whose document is not the one that was asked for.
	ErrForeignBody = errors.New("no answer: status 200 with a foreign document")
	// ErrBodyTooLarge is an answer above the limit.
	ErrBodyTooLarge = errors.New("no answer: the body exceeds the limit")
	// ErrInsecure is a plain http endpoint that nobody allowed.
	ErrInsecure = errors.New("plain http endpoint refused (allow_insecure_endpoint is not set)")
	// ErrPaced is a call that was not sent: its deadline ends before its turn comes.
	ErrPaced = errors.New("not sent: no turn within the time left")
	// ErrWrongAccount is a role that leads into another account than the one asked for.
	ErrWrongAccount = errors.New("the role is in another account")
)

// IsNoAnswer reports whether err says that the service asked did not answer at all,
// although something did.
func IsNoAnswer(err error) bool {
	return errors.Is(err, ErrNoRequestID) || errors.Is(err, ErrForeignBody) || errors.Is(err, ErrBodyTooLarge)
}

// RoleError is an assumed role that did not open.
type RoleError struct {
	ARN string
	Err error
}

func (e *RoleError) Error() string { return "assume " + e.ARN + ": " + e.Err.Error() }

func (e *RoleError) Unwrap() error { return e.Err }

// IsRoleRefused reports whether err is a role that AWS or the account check refused,
// in contrast to one that could not be asked for.
func IsRoleRefused(err error) bool {
	var re *RoleError
	return errors.As(err, &re) && (IsDenied(err) || errors.Is(err, ErrWrongAccount))
}

// Code is AWS's bare error code, "" if err does not come from AWS.
func Code(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	return ""
}

// is compares without case: AWS itself spells some codes in two ways
// (InvalidVpcPeeringConnectionID.NotFound, ...Id.NotFound).
func is(err error, codes ...string) bool {
	code := Code(err)
	return code != "" && slices.ContainsFunc(codes, func(c string) bool { return strings.EqualFold(c, code) })
}

// IsThrottled reports whether AWS says that it was asked too often.
func IsThrottled(err error) bool {
	return is(err, "RequestLimitExceeded", "Throttling", "ThrottlingException", "ThrottledException",
		"EC2ThrottledException", "RequestThrottled", "RequestThrottledException", "TooManyRequestsException", "SlowDown")
}

// IsDenied reports whether the caller may not do what it tried.
func IsDenied(err error) bool {
	return is(err, "UnauthorizedOperation", "AccessDenied", "AccessDeniedException", "AuthFailure",
		"InvalidClientTokenId", "UnrecognizedClientException", "OptInRequired")
}

// IsExpired reports whether AWS takes the credentials or the signature for too old.
func IsExpired(err error) bool {
	return is(err, "ExpiredToken", "ExpiredTokenException", "RequestExpired", "InvalidSecurity.RequestHasExpired")
}

// IsNotFound reports whether the object named does not exist, or not yet.
func IsNotFound(err error) bool {
	code := strings.ToLower(Code(err))
	return strings.HasSuffix(code, ".notfound")
}

// IsTableNotFound reports whether the route table is gone.
func IsTableNotFound(err error) bool { return is(err, "InvalidRouteTableID.NotFound") }

// IsRouteExists reports whether the destination is taken in the table.
func IsRouteExists(err error) bool { return is(err, "RouteAlreadyExists") }

// IsRouteNotFound reports whether the table has no such route.
func IsRouteNotFound(err error) bool { return is(err, "InvalidRoute.NotFound") }

// IsNoRouteToReplace reports whether ReplaceRoute found nothing to replace. AWS gives
// it no code of its own.
func IsNoRouteToReplace(err error) bool {
	if IsRouteNotFound(err) {
		return true
	}
	var api smithy.APIError
	return is(err, "InvalidParameterValue") && errors.As(err, &api) &&
		strings.Contains(strings.ToLower(api.ErrorMessage()), "no route")
}

// IsRouteLimit reports whether the table is full.
func IsRouteLimit(err error) bool { return is(err, "RouteLimitExceeded", "ResourceCountLimitExceeded") }

// IsPeeringNotFound reports whether the peering does not exist, or is not visible yet.
func IsPeeringNotFound(err error) bool { return is(err, "InvalidVpcPeeringConnectionID.NotFound") }

// IsPeeringExists reports whether the two VPCs have a peering already.
func IsPeeringExists(err error) bool { return is(err, "VpcPeeringConnectionAlreadyExists") }

// IsInvalidState reports whether the object is past the state that the call needs.
func IsInvalidState(err error) bool { return is(err, "InvalidStateTransition", "IncorrectState") }

// IsTransient reports whether the same call may succeed soon without anybody doing anything.
func IsTransient(err error) bool {
	if IsThrottled(err) || IsExpired(err) || errors.Is(err, ErrPaced) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	if is(err, "InternalError", "InternalFailure", "ServiceUnavailable", "Unavailable", "InvalidParameterException",
		"InvalidVpcPeeringConnectionID.NotFound") {
		return true
	}
	return Code(err) == "" // the network, or no answer
}
