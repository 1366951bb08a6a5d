import com.auth0.client.mgmt.ManagementApi;
import com.auth0.client.mgmt.core.ManagementApiException;
import com.auth0.client.mgmt.types.UpdateSessionRequestContent;
import java.util.Map;

public class Session {
    public static void main(String[] args) {
        var management = ManagementApi.builder()
                .domain(System.getenv("AUTH0_DOMAIN"))
                .audience(System.getenv("AUTH0_AUDIENCE"))
                .clientCredentials(System.getenv("AUTH0_CLIENT_ID"), System.getenv("AUTH0_CLIENT_SECRET"))
                .build();
        var sessionId = System.getenv("AUTH0_SESSION_ID");

        management.sessions().update(sessionId, tier("pro"));
        var session = management.sessions().get(sessionId);
        System.out.println(session.getSessionMetadata().get().get("tier"));
        try {
            management.sessions().update(sessionId, tier("gold"));
        } catch (ManagementApiException error) {
            System.out.println(error.statusCode() + " " + ((Map<?, ?>) error.body()).get("message"));
        }
        System.exit(0); // Connections that are kept alive would keep the process for a minute.
    }

    private static UpdateSessionRequestContent tier(String tier) {
        return UpdateSessionRequestContent.builder().sessionMetadata(Map.of("tier", tier)).build();
    }
}
