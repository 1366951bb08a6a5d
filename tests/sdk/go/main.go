// Lists what a user has with Auth0's official Go SDKs, version 1 and 2, and prints what they made of the answers.
//
//	auth0 1|2 '{"base":"https://127.0.0.1:PORT","token":…,"read_only_token":…,"expired_token":…,"user_id":…}'
//
// prints [{"case":…,"result":{"ok":…} or {"error":{…}}},…], as auth0.mjs does. Ends everything of the user at last.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"strings"

	v1 "github.com/auth0/go-auth0/management"
	v2 "github.com/auth0/go-auth0/v2/management"
	"github.com/auth0/go-auth0/v2/management/client"
	"github.com/auth0/go-auth0/v2/management/core"
	"github.com/auth0/go-auth0/v2/management/option"
	users2 "github.com/auth0/go-auth0/v2/management/users/client"
	sessions2 "github.com/auth0/go-auth0/v2/management/users/sessions"
)

type given struct {
	Base          string `json:"base"`
	Token         string `json:"token"`
	ReadOnlyToken string `json:"read_only_token"`
	ExpiredToken  string `json:"expired_token"`
	UserID        string `json:"user_id"`
}

func (given given) domain() string {
	return strings.TrimPrefix(given.Base, "https://")
}

type result struct {
	Case   string         `json:"case"`
	Result map[string]any `json:"result"`
}

var results []result

// run calls the SDK, and keeps what an application would see of it.
func run(name string, call func() (any, error)) {
	value, err := call()
	if err == nil {
		results = append(results, result{name, map[string]any{"ok": value}})
		return
	}
	told := map[string]any{"class": reflect.TypeOf(err).String()}
	switch failure := err.(type) {
	case v1.Error:
		told["status"] = failure.Status()
	case *core.APIError:
		told["status"] = failure.StatusCode
	default:
		// The errors of version 2 hold the one above.
		if field := reflect.Indirect(reflect.ValueOf(err)).FieldByName("APIError"); field.IsValid() {
			told["status"] = field.Interface().(*core.APIError).StatusCode
		}
	}
	results = append(results, result{name, map[string]any{"error": told}})
}

func firstVersion(given given) {
	ctx := context.Background()
	users := func(token string) *v1.UserManager {
		api, err := v1.New(given.domain(), v1.WithStaticToken(token), v1.WithNoRetries())
		check(err)
		return api.User
	}
	all := users(given.Token)
	// As they come, without options: the SDK adds its own.
	run("sessions", func() (any, error) { return all.ListUserSessions(ctx, given.UserID) })
	run("refresh tokens", func() (any, error) { return all.ListRefreshTokens(ctx, given.UserID) })
	run("pages of sessions", func() (any, error) {
		page, err := all.ListUserSessions(ctx, given.UserID, v1.Take(2))
		if err != nil || !page.HasNext() {
			return page, err
		}
		return all.ListUserSessions(ctx, given.UserID, v1.Take(2), v1.From(page.Next))
	})
	run("a page of refresh tokens by its number", func() (any, error) {
		return all.ListRefreshTokens(ctx, given.UserID, v1.Page(1), v1.PerPage(1), v1.IncludeTotals(true))
	})
	run("a token that is expired", func() (any, error) { return users(given.ExpiredToken).ListUserSessions(ctx, given.UserID) })
	run("a token without the right", func() (any, error) {
		return nil, users(given.ReadOnlyToken).DeleteUserSessions(ctx, given.UserID)
	})
	run("an unknown user", func() (any, error) { return all.ListUserSessions(ctx, "auth0|nobody@example.com") })
	run("all sessions end", func() (any, error) { return nil, all.DeleteUserSessions(ctx, given.UserID) })
	run("all refresh tokens end", func() (any, error) { return nil, all.DeleteRefreshTokens(ctx, given.UserID) })
}

func secondVersion(given given) {
	ctx := context.Background()
	users := func(token string) *users2.Client {
		api, err := client.New(given.domain(), option.WithToken(token), option.WithMaxAttempts(1))
		check(err)
		return api.Users
	}
	sessions := func(token string) *sessions2.Client { return users(token).Sessions }
	tokens := users(given.Token).RefreshToken
	all := sessions(given.Token)
	list := func(client *sessions2.Client, user string, take *int) (any, error) {
		page, err := client.List(ctx, user, &v2.ListUserSessionsRequestParameters{Take: take})
		if err != nil {
			return nil, err
		}
		pages := []any{page.Results}
		for next := page; len(pages) < 10; pages = append(pages, next.Results) {
			if next, err = next.GetNextPage(ctx); err == core.ErrNoPages {
				break
			} else if err != nil {
				return nil, err
			}
		}
		return pages, nil
	}
	run("sessions", func() (any, error) { return list(all, given.UserID, nil) })
	two := 2
	run("pages of sessions", func() (any, error) { return list(all, given.UserID, &two) })
	run("refresh tokens", func() (any, error) {
		page, err := tokens.List(ctx, given.UserID, &v2.ListRefreshTokensRequestParameters{})
		if err != nil {
			return nil, err
		}
		return page.Results, nil
	})
	run("a token that is expired", func() (any, error) { return list(sessions(given.ExpiredToken), given.UserID, nil) })
	run("a token without the right", func() (any, error) {
		return nil, sessions(given.ReadOnlyToken).Delete(ctx, given.UserID)
	})
	run("an unknown user", func() (any, error) { return list(all, "auth0|nobody@example.com", nil) })
	run("all sessions end", func() (any, error) { return nil, all.Delete(ctx, given.UserID) })
	run("all refresh tokens end", func() (any, error) { return nil, tokens.Delete(ctx, given.UserID) })
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	var given given
	check(json.Unmarshal([]byte(os.Args[2]), &given))
	if os.Args[1] == "1" {
		firstVersion(given)
	} else {
		secondVersion(given)
	}
	check(json.NewEncoder(os.Stdout).Encode(results))
}
