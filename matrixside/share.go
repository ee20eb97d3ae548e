package matrixside

import (
	"context"
	"errors"

	"lockbridge/gateway"
)

// share gives files to the homeserver.
func (s *Side) share(_ context.Context, _ string, files []gateway.File) ([]uploaded, error) {
	if len(files) > 0 {
		return nil, gateway.Plainer(errors.New("files cannot be uploaded"))
	}
	return nil, nil
}
