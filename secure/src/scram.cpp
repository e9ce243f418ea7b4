#include "ferry/secure/scram.hpp"

#include <charconv>

namespace ferry::secure {
namespace {

constexpr std::string_view prefix = "SCRAM-SHA-256$";
constexpr std::size_t nonce_bytes = 18;

Digest of_text(const Digest& key, std::string_view text) {
    return hmac_sha256(key, as_bytes(text));
}

Digest mixed(const Digest& a, const Digest& b) {
    Digest out{};
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = a[i] ^ b[i];
    return out;
}

std::optional<Digest> digest_of(std::string_view base) {
    const auto bytes = from_base64(base);
    if (!bytes || bytes->size() != Digest{}.size()) return std::nullopt;
    Digest digest{};
    std::copy(bytes->begin(), bytes->end(), digest.begin());
    return digest;
}

/// "x=value" at the beginning of `text`, up to the next comma; taken off.
std::optional<std::string_view> take(std::string_view& text, char name) {
    if (text.size() < 2 || text[0] != name || text[1] != '=') return std::nullopt;
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view value = text.substr(2, end - 2);
    text.remove_prefix(end == text.size() ? end : end + 1);
    return value;
}

std::optional<std::uint32_t> count_of(std::string_view text) {
    std::uint32_t count = 0;
    const char* const end = text.data() + text.size();
    const auto read = std::from_chars(text.data(), end, count);
    if (read.ec != std::errc{} || read.ptr != end) return std::nullopt;
    return count;
}

// A name's '=' and ',' as the standard writes them. Nothing: '=' stands before something else.
std::optional<std::string> unescaped(std::string_view name) {
    std::string out;
    for (std::size_t i = 0; i < name.size(); ++i) {
        if (name[i] != '=') {
            out.push_back(name[i]);
            continue;
        }
        const std::string_view code = name.substr(i + 1, 2);
        if (code != "2C" && code != "3D") return std::nullopt;
        out.push_back(code == "2C" ? ',' : '=');
        i += 2;
    }
    return out;
}

std::string escaped(std::string_view name) {
    std::string out;
    for (const char c : name) {
        if (c == ',') {
            out += "=2C";
        } else if (c == '=') {
            out += "=3D";
        } else {
            out.push_back(c);
        }
    }
    return out;
}

ScramVerifier verifier_of(std::string_view password, std::vector<std::byte> salt,
                          std::uint32_t iterations) {
    ScramVerifier made;
    made.iterations = iterations;
    made.salt = std::move(salt);
    const Digest salted = pbkdf2_sha256(password, made.salt, iterations);
    made.stored_key = sha256(of_text(salted, "Client Key"));
    made.server_key = of_text(salted, "Server Key");
    return made;
}

constexpr std::string_view exporter = "p=tls-exporter,,";

std::string bound(std::string_view header, const Digest* binding) {
    std::string all(header);
    if (binding != nullptr) all += as_text(*binding);
    return base64(as_bytes(all));
}

}  // namespace

std::string ScramVerifier::text() const {
    return std::string(prefix) + std::to_string(iterations) + ":" + base64(salt) + "$" +
           base64(stored_key) + ":" + base64(server_key);
}

std::optional<ScramVerifier> ScramVerifier::parse(std::string_view text) {
    if (!text.starts_with(prefix)) return std::nullopt;
    text.remove_prefix(prefix.size());
    const std::size_t colon = text.find(':');
    const std::size_t dollar = text.find('$');
    const std::size_t second = text.rfind(':');
    if (colon == text.npos || dollar == text.npos || colon > dollar || second < dollar)
        return std::nullopt;
    const auto iterations = count_of(text.substr(0, colon));
    auto salt = from_base64(text.substr(colon + 1, dollar - colon - 1));
    const auto stored = digest_of(text.substr(dollar + 1, second - dollar - 1));
    const auto server = digest_of(text.substr(second + 1));
    if (!iterations || *iterations < scram_iterations_min || *iterations > scram_iterations_max ||
        !salt || salt->empty() || !stored || !server) {
        return std::nullopt;
    }
    return ScramVerifier{*iterations, std::move(*salt), *stored, *server};
}

ScramVerifier ScramVerifier::of(std::string_view password) {
    return verifier_of(password, random_bytes(scram_salt_bytes), scram_iterations);
}

ScramVerifier ScramVerifier::of_nobody(std::string_view name, Bytes secret) {
    const Digest mac = hmac_sha256(secret, as_bytes(name));
    ScramVerifier made;
    made.salt.assign(mac.begin(), mac.begin() + scram_salt_bytes);
    made.stored_key = sha256(mac);  // nobody knows what hashes to that
    made.server_key = hmac_sha256(secret, mac);
    return made;
}

bool ScramVerifier::fits(std::string_view password) const {
    const ScramVerifier other = verifier_of(password, salt, iterations);
    return same_secret(other.stored_key, stored_key);
}

// ---- the broker ----

bool ScramServer::begin(std::string_view client_first, bool plus, const Digest* binding) {
    if (client_first.size() > scram_text_bytes_max) return false;
    const std::size_t bare = client_first.starts_with(exporter) ? exporter.size() : 3;
    const std::string_view header = client_first.substr(0, std::min(bare, client_first.size()));
    const bool binds = header == exporter;
    // "y": the client could bind and thinks that we cannot. We can, so somebody lied to it.
    if (header != "n,," && !binds && !(header == "y,," && binding == nullptr)) return false;
    if (binds != plus || (binds && binding == nullptr)) return false;
    header_ = bound(header, binds ? binding : nullptr);
    client_first_bare_ = client_first.substr(header.size());
    std::string_view rest = client_first_bare_;
    const auto name = take(rest, 'n');
    const auto nonce = take(rest, 'r');
    if (!name || !nonce || nonce->empty()) return false;
    auto user = unescaped(*name);
    if (!user || user->empty()) return false;
    user_ = std::move(*user);
    nonce_ = std::string(*nonce) + base64(random_bytes(nonce_bytes));
    return true;
}

std::string ScramServer::challenge(const ScramVerifier& verifier) {
    verifier_ = verifier;
    server_first_ = "r=" + nonce_ + ",s=" + base64(verifier_.salt) +
                    ",i=" + std::to_string(verifier_.iterations);
    return server_first_;
}

std::optional<std::string> ScramServer::finish(std::string_view client_final) const {
    if (client_final.size() > scram_text_bytes_max) return std::nullopt;
    const std::size_t at = client_final.rfind(",p=");
    if (at == client_final.npos) return std::nullopt;
    const std::string_view without_proof = client_final.substr(0, at);
    const auto proof = digest_of(client_final.substr(at + 3));
    std::string_view rest = without_proof;
    const auto header = take(rest, 'c');
    const auto nonce = take(rest, 'r');
    if (!proof || !header || !nonce || *header != header_ || *nonce != nonce_) return std::nullopt;
    const std::string all =
        client_first_bare_ + "," + server_first_ + "," + std::string(without_proof);
    const Digest signature = of_text(verifier_.stored_key, all);
    const Digest client_key = mixed(*proof, signature);
    if (!same_secret(sha256(client_key), verifier_.stored_key)) return std::nullopt;
    return "v=" + base64(of_text(verifier_.server_key, all));
}

// ---- the client ----

ScramClient::ScramClient(std::string user, std::string password, const Digest* binding,
                         std::string nonce)
    : user_(std::move(user)),
      password_(std::move(password)),
      nonce_(nonce.empty() ? base64(random_bytes(nonce_bytes)) : std::move(nonce)),
      header_(binding != nullptr ? exporter : std::string_view("n,,")),
      binding_(bound(header_, binding)) {}

ScramClient::~ScramClient() {
    wipe(password_);
}

std::string ScramClient::bare() const {
    return "n=" + escaped(user_) + ",r=" + nonce_;
}

std::string ScramClient::first() const {
    return header_ + bare();
}

std::optional<std::string> ScramClient::answer(std::string_view server_first) {
    if (server_first.size() > scram_text_bytes_max) return std::nullopt;
    std::string_view rest = server_first;
    const auto nonce = take(rest, 'r');
    const auto salt_text = take(rest, 's');
    const auto count = take(rest, 'i');
    if (!nonce || !salt_text || !count) return std::nullopt;
    const auto salt = from_base64(*salt_text);
    const auto iterations = count_of(*count);
    if (!salt || salt->empty() || !iterations || *iterations < scram_iterations_min ||
        *iterations > scram_iterations_max || !nonce->starts_with(nonce_) ||
        nonce->size() == nonce_.size()) {
        return std::nullopt;
    }
    const std::string without_proof = "c=" + binding_ + ",r=" + std::string(*nonce);
    const std::string all = bare() + "," + std::string(server_first) + "," + without_proof;
    const Digest salted = pbkdf2_sha256(password_, *salt, *iterations);
    const Digest client_key = of_text(salted, "Client Key");
    const Digest proof = mixed(client_key, of_text(sha256(client_key), all));
    expected_ = "v=" + base64(of_text(of_text(salted, "Server Key"), all));
    return without_proof + ",p=" + base64(proof);
}

bool ScramClient::proves_itself(std::string_view server_final) const {
    return !expected_.empty() && same_secret(as_bytes(server_final), as_bytes(expected_));
}

}  // namespace ferry::secure
