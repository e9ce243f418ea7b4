// Who is it? Everything that a stranger can find out here is whether name and password fit
// together: a user that does not exist takes as long and is answered as a wrong password.

#include "sign_in.hpp"

#include "fields.hpp"
#include "frames.hpp"
#include "native_session.hpp"
#include "peek.hpp"

namespace ferry::server::native {

using wire::Code;

void NativeSession::sign_in(std::uint64_t request, std::string_view mechanism,
                            std::string_view initial) {
    sign_in_ = std::make_unique<SignIn>();
    sign_in_->request = request;
    if (!hub_.gate.wants_users()) {
        fail(request, Code::authentication_failed,
             "this broker knows no users: set auth.users, or connect without one");
    } else if (mechanism.empty()) {
        sign_in_failed({}, "hello named no user");
    } else if (mechanism == wire::mechanism_scram) {
        sign_in_scram(initial, false);
    } else if (mechanism == wire::mechanism_scram_plus) {
        sign_in_scram(initial, true);
    } else if (mechanism == wire::mechanism_plain) {
        sign_in_plain(initial);
    } else if (mechanism == wire::mechanism_external) {
        sign_in_external();
    } else {
        fail(request, Code::authentication_failed,
             "sign in by SCRAM-SHA-256, SCRAM-SHA-256-PLUS, PLAIN or EXTERNAL");
    }
}

void NativeSession::sign_in_scram(std::string_view initial, bool plus) {
    sign_in_->scram = std::make_unique<secure::ScramServer>();
    const auto binding =
        link_.tls() == nullptr ? std::optional<secure::Digest>{} : link_.tls()->binding();
    if (!sign_in_->scram->begin(initial, plus, binding ? &*binding : nullptr)) {
        sign_in_failed({}, "the first SCRAM message is malformed or of another connection");
        return;
    }
    sign_in_->user = sign_in_->scram->user();
    const Gate::Account* const account = hub_.gate.account(sign_in_->user);
    sign_in_->known = account != nullptr && account->user.has_password;
    const std::string challenge = sign_in_->scram->challenge(
        sign_in_->known ? account->user.verifier : hub_.gate.nobody(sign_in_->user));
    const std::size_t mark = wire::begin_frame(link_.out(), wire::Verb::auth_challenge, 3);
    wire::Encoder(link_.out()).uint(sign_in_->request).str(challenge);
    wire::end_frame(link_.out(), mark);
    link_.sent();
}

bool NativeSession::auth_response(Request& request) {
    std::string_view text;
    if (request.count < 3 || !request.fields.read_str(text)) return false;
    if (sign_in_->scram == nullptr || sign_in_->refuse_at.ns != 0) {
        fail(request.id, Code::unexpected_verb, "nothing was asked");
        return true;
    }
    const std::unique_ptr<secure::ScramServer> scram = std::move(sign_in_->scram);
    const auto proof = scram->finish(text);
    if (proof && sign_in_->known) {
        signed_in(sign_in_->user, *proof);
    } else {
        sign_in_failed(sign_in_->user, "the user or the password is wrong");
    }
    return true;
}

// "\0user\0password", and only where nobody else can read it.
void NativeSession::sign_in_plain(std::string_view initial) {
    if (link_.tls() == nullptr) {
        fail(sign_in_->request, Code::authentication_failed,
             "PLAIN is only for connections with TLS: use SCRAM-SHA-256");
        return;
    }
    const std::size_t second = initial.find('\0', 1);
    if (initial.empty() || initial[0] != '\0' || second == initial.npos ||
        initial.size() - second - 1 > secure::password_bytes_max) {
        sign_in_failed({}, "the PLAIN message is malformed");
        return;
    }
    sign_in_->user = initial.substr(1, second - 1);
    const Gate::Account* const account = hub_.gate.account(sign_in_->user);
    sign_in_->known = account != nullptr && account->user.has_password;
    // Comparing takes milliseconds on purpose: not the loop's.
    struct Comparison {
        secure::ScramVerifier verifier;
        std::string password;
        bool fits = false;
    };
    auto what = std::make_shared<Comparison>();
    what->verifier = sign_in_->known ? account->user.verifier : hub_.gate.nobody(sign_in_->user);
    what->password = initial.substr(second + 1);
    Hub& hub = hub_;
    const engine::SessionId id = id_;
    hub_.in_background(
        [what] {
            what->fits = what->verifier.fits(what->password);
            secure::wipe(what->password);
        },
        [&hub, id, what] {
            auto* found = dynamic_cast<NativeSession*>(hub.session(id));
            if (found != nullptr) found->password_compared(what->fits);
        });
}

void NativeSession::password_compared(bool fits) {
    if (phase_ != Phase::greeting || sign_in_ == nullptr || sign_in_->refuse_at.ns != 0) return;
    if (fits && sign_in_->known) {
        signed_in(sign_in_->user, {});
    } else {
        sign_in_failed(sign_in_->user, "the user or the password is wrong");
    }
}

void NativeSession::sign_in_external() {
    const std::string name = link_.tls() == nullptr ? std::string{} : link_.tls()->peer_name();
    if (!hub_.gate.takes_certificates()) {
        sign_in_failed(name, "auth.certificates is false: certificates are no users here");
    } else if (name.empty()) {
        sign_in_failed({}, "the connection showed no certificate");
    } else if (hub_.gate.account(name) == nullptr) {
        sign_in_failed(name, "the certificate's name is no user");
    } else {
        signed_in(name, {});
    }
}

void NativeSession::signed_in(std::string_view user, std::string_view proof) {
    Gate::Account* const account = hub_.gate.account(user);
    if (account == nullptr) {  // it went while its password was compared
        sign_in_failed(user, "the user is gone");
        return;
    }
    const std::uint32_t most = account->user.connections_max;
    const std::uint64_t request = sign_in_->request;
    if (most != 0 && account->connections >= most) {
        ++hub_.figures.connections_refused;
        fail(request, Code::too_many_connections,
             "user " + std::string(user) + " has its " + std::to_string(most) + " connections");
        return;
    }
    ++account->connections;
    ++hub_.figures.sign_ins;
    account_ = account;
    rights_ = account->rights;
    hub_.audit({.user = user, .from = link_.peer(), .action = "sign_in", .result = "ok"});
    const std::string own_proof(proof);
    sign_in_.reset();
    greet(request, own_proof);
}

// The answer is held back, longer after each failure, and is the same for all.
void NativeSession::sign_in_failed(std::string_view user, std::string_view why) {
    ++hub_.figures.sign_ins_failed;
    hub_.audit({.user = user,
                .from = link_.peer(),
                .action = "sign_in",
                .result = "failed",
                .detail = why});
    const std::uint64_t delay_ms = hub_.gate.note_failure(address(), hub_.now().mono);
    sign_in_->scram.reset();
    sign_in_->refuse_at = Instant{hub_.now().mono.ns + delay_ms * 1'000'000};
    sign_in_->answer = wire::code_info(Code::authentication_failed).meaning;
}

std::string NativeSession::address() const {
    return link_.peer().substr(0, link_.peer().rfind(':'));
}

void NativeSession::leave_account() {
    if (account_ == nullptr) return;
    --account_->connections;
    account_ = nullptr;
}

void NativeSession::on_users_changed() {
    if (rights_ == nullptr || phase_ == Phase::over) return;
    const Gate::Account* const account = hub_.gate.account(rights_->user);
    if (account != nullptr && account->rights == rights_) return;
    hub_.audit({.user = rights_->user,
                .from = link_.peer(),
                .action = "signed_out",
                .result = "ok",
                .detail = "the user changed"});
    fail(0, Code::user_changed, {});
}

}  // namespace ferry::server::native
