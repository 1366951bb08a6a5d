import com.auth0.client.mgmt.ManagementAPI;
import com.auth0.client.mgmt.UsersEntity;
import com.auth0.client.mgmt.filter.PageFilter;
import com.auth0.exception.APIException;
import com.auth0.json.mgmt.refreshtokens.RefreshTokensPage;
import com.auth0.json.mgmt.sessions.SessionsPage;
import com.auth0.net.Request;
import com.auth0.net.client.DefaultHttpClient;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Lists what a user has with Auth0's official Java SDK, version 2, and prints what it made of the answers.
 *
 * <pre>java Auth0 '{"base":"https://127.0.0.1:PORT","token":…,"read_only_token":…,"expired_token":…,"user_id":…}'</pre>
 *
 * prints [{"case":…,"result":{"ok":…} or {"error":{…}}},…], as auth0.mjs does. Ends everything of the user at last.
 */
public final class Auth0 {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final List<Map<String, Object>> RESULTS = new ArrayList<>();

    private interface Call {
        Object answer() throws Exception;
    }

    /** Calls the SDK, and keeps what an application would see of it. */
    private static void run(String name, Call call) {
        Map<String, Object> result = new LinkedHashMap<>();
        try {
            result.put("ok", call.answer());
        } catch (Exception error) {
            Map<String, Object> told = new LinkedHashMap<>();
            told.put("class", error.getClass().getSimpleName());
            if (error instanceof APIException) {
                APIException api = (APIException) error;
                told.put("status", api.getStatusCode());
                told.put("errorCode", api.getValue("errorCode"));
            }
            result.put("error", told);
        }
        RESULTS.add(Map.of("case", name, "result", result));
    }

    private static UsersEntity users(JsonNode given, String token) {
        return ManagementAPI.newBuilder(given.get("base").asText(), given.get(token).asText())
                .withHttpClient(DefaultHttpClient.newBuilder().withMaxRetries(0).build())
                .build()
                .users();
    }

    private static Object sessions(Request<SessionsPage> request) throws Exception {
        SessionsPage page = request.execute().getBody();
        List<Object> ids = new ArrayList<>();
        page.getSessions().forEach(session -> ids.add(session.getId()));
        return found(ids, page.getNext(), page.getTotal());
    }

    private static Object tokens(Request<RefreshTokensPage> request) throws Exception {
        RefreshTokensPage page = request.execute().getBody();
        List<Object> ids = new ArrayList<>();
        page.getTokens().forEach(token -> ids.add(token.getId()));
        return found(ids, page.getNext(), page.getTotal());
    }

    private static Map<String, Object> found(List<Object> ids, String next, Integer total) {
        Map<String, Object> found = new LinkedHashMap<>();
        found.put("ids", ids);
        found.put("next", next);
        found.put("total", total);
        return found;
    }

    public static void main(String[] args) throws Exception {
        JsonNode given = JSON.readTree(args[0]);
        UsersEntity users = users(given, "token");
        String user = given.get("user_id").asText();
        run("sessions", () -> sessions(users.listSessions(user, null)));
        run("refresh tokens", () -> tokens(users.listRefreshTokens(user, null)));
        PageFilter numbered = new PageFilter().withPage(1, 2).withTotals(true);
        run("a page of sessions by its number", () -> sessions(users.listSessions(user, numbered)));
        run("a page of refresh tokens by its number", () -> tokens(users.listRefreshTokens(user, numbered)));
        run("pages of sessions", () -> {
            SessionsPage first = users.listSessions(user, new PageFilter().withTake(2)).execute().getBody();
            return sessions(users.listSessions(user, new PageFilter().withTake(2).withFrom(first.getNext())));
        });
        run("a token that is expired", () -> sessions(users(given, "expired_token").listSessions(user, null)));
        run("a token without the right", () -> users(given, "read_only_token").deleteSessions(user).execute().getStatusCode());
        run("an unknown user", () -> sessions(users.listSessions("auth0|nobody@example.com", null)));
        run("all sessions end", () -> users.deleteSessions(user).execute().getStatusCode());
        run("all refresh tokens end", () -> users.deleteRefreshTokens(user).execute().getStatusCode());
        System.out.println(JSON.writeValueAsString(RESULTS));
        // Threads of its connections would keep the process for a minute.
        System.exit(0);
    }
}
