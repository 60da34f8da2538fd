package ec2sim

import (
	"fmt"
	"net/http"
)

// apiError is an error as AWS words it.
type apiError struct {
	status        int
	code, message string
}

func (e *apiError) Error() string { return e.code + ": " + e.message }

// refuse is a client error with HTTP 400, which most of EC2's are.
func refuse(code, format string, args ...any) error {
	return &apiError{http.StatusBadRequest, code, fmt.Sprintf(format, args...)}
}

func refuseStatus(status int, code, format string, args ...any) error {
	return &apiError{status, code, fmt.Sprintf(format, args...)}
}
