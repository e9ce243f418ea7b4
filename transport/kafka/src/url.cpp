#include "ferry/transport/kafka/settings.hpp"

namespace ferry::transport::kafka {

bool is_kafka_url(std::string_view url) {
    return url.starts_with("kafka://");
}

const std::string& Settings::topic_of(const std::string& name) const {
    const auto found = topics.find(name);
    return found == topics.end() ? name : found->second;
}

}  // namespace ferry::transport::kafka
