package main

import (
	"context"
	"errors"
	"fmt"
	"log"
	"os"

	"github.com/auth0/go-auth0/v2/management"
	"github.com/auth0/go-auth0/v2/management/client"
	"github.com/auth0/go-auth0/v2/management/option"
)

func main() {
	ctx := context.Background()
	api, err := client.New(os.Getenv("AUTH0_DOMAIN"), option.WithClientCredentialsAndAudience(
		ctx, os.Getenv("AUTH0_CLIENT_ID"), os.Getenv("AUTH0_CLIENT_SECRET"), os.Getenv("AUTH0_AUDIENCE")))
	if err != nil {
		log.Fatal(err)
	}
	id := os.Getenv("AUTH0_SESSION_ID")
	update := func(tier string) error {
		metadata := management.SessionMetadata{"tier": tier}
		request := &management.UpdateSessionRequestContent{SessionMetadata: &metadata}
		_, err := api.Sessions.Update(ctx, id, request)
		return err
	}

	if err := update("pro"); err != nil {
		log.Fatal(err)
	}
	session, err := api.Sessions.Get(ctx, id)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println((*session.SessionMetadata)["tier"])
	var rejected *management.BadRequestError
	if errors.As(update("gold"), &rejected) {
		body, _ := rejected.Body.(map[string]any)
		fmt.Println(rejected.StatusCode, body["message"])
	}
}
