#include "ferry/transport/kafka/publisher.hpp"
#include "ferry/transport/kafka/settings.hpp"
#include "ferry/transport/kafka/subscription.hpp"
#include "ferry/transport/kafka/transformer.hpp"

namespace ferry::transport::kafka {
namespace {

ClientError left_out() {
    return {Errc::rejected, wire::Code::ok,
            "this build has no Kafka in it: it was built with -DFERRY_KAFKA=OFF"};
}

}  // namespace

Answer<Settings> read_url(std::string_view /*url*/) {
    return left_out();
}
Answer<std::uint32_t> make_topics(const std::string& /*url*/,
                                  const std::vector<std::string>& /*names*/,
                                  const TopicOptions& /*options*/) {
    return left_out();
}
Answer<Done> drop_topics(const std::string& /*url*/, const std::vector<std::string>& /*names*/) {
    return left_out();
}
Answer<std::unique_ptr<Publisher>> make_publisher(PublisherOptions /*options*/) {
    return left_out();
}
Answer<std::unique_ptr<SequencedPublisher>> make_sequenced_publisher(SequencedOptions /*options*/,
                                                                     SequencedEvents& /*events*/) {
    return left_out();
}
Answer<std::unique_ptr<Subscription>> subscribe(SubscriptionOptions /*options*/) {
    return left_out();
}
Answer<std::unique_ptr<Transformer>> make_transformer(TransformerOptions /*options*/) {
    return left_out();
}

}  // namespace ferry::transport::kafka
