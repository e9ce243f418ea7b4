#include "ferry/transport/kafka/transformer.hpp"

#include <algorithm>
#include <chrono>
#include <map>

#include "ferry/wire/encoder.hpp"
#include "handle.hpp"
#include "produce.hpp"
#include "read.hpp"

// Polling, where rebalances happen, and the transaction take turns: no partition goes in the middle
// of one, and Kafka refuses the offsets of a member that was put out.
namespace ferry::transport::kafka {
namespace {

constexpr int transaction_wait_ms = 30'000;

struct DestroyMessage {
    void operator()(rd_kafka_message_t* message) const { rd_kafka_message_destroy(message); }
};
using Taken = std::unique_ptr<rd_kafka_message_t, DestroyMessage>;

struct DestroyMember {
    void operator()(rd_kafka_consumer_group_metadata_t* one) const {
        rd_kafka_consumer_group_metadata_destroy(one);
    }
};

class KafkaTransformer final : public Transformer {
public:
    KafkaTransformer(TransformerOptions options, Settings settings)
        : options_(std::move(options)),
          settings_(std::move(settings)),
          topic_(settings_.topic_of(options_.from)),
          reading_("transformer"),
          writing_("transformer") {
        reading_.on_event = options_.on_event;
        writing_.on_event = options_.on_event;
    }
    ~KafkaTransformer() override {
        if (consumer_) rd_kafka_consumer_close(consumer_.get());
    }

    Answer<Done> start() {
        const std::string group = options_.group.empty() ? options_.from : options_.group;
        if (auto made = make_consumer(group); !made.ok()) return made;
        ConfBuilder conf(settings_, options_.name, writing_);
        set_idempotent(conf, 100'000, 64ULL << 20, 2);
        std::string id = options_.transactional_id;
        if (id.empty()) id = settings_.transactional_id;
        if (id.empty()) id = group + "-" + topic_;
        conf.set("transactional.id", id);
        rd_kafka_conf_set_dr_msg_cb(conf.get(),
                                    [](rd_kafka_t*, const rd_kafka_message_t*, void*) {});
        auto made = conf.make(RD_KAFKA_PRODUCER);
        if (!made.ok()) return made.error();
        producer_ = std::move(made).value();
        const KafkaError error(rd_kafka_init_transactions(
            producer_.get(), static_cast<int>(options_.connect_timeout_ms)));
        if (error) return failure(*error, "taking the transactional id " + id);
        return Done{};
    }

    Answer<std::uint64_t> turn(const Transform& transform, Timeout timeout) override {
        std::vector<Taken> batch = take(timeout);
        if (batch.empty()) return std::uint64_t{0};
        KafkaError error(rd_kafka_begin_transaction(producer_.get()));
        if (error) {
            rewind(batch);
            return failure(*error, "beginning a transaction");
        }
        auto sent = send(transform, batch);
        if (sent.ok()) sent = commit(batch);
        if (sent.ok()) return static_cast<std::uint64_t>(batch.size());
        if (sent.error().wire_code != wire::Code::fenced) {
            const KafkaError aborted(
                rd_kafka_abort_transaction(producer_.get(), transaction_wait_ms));
            if (aborted && rd_kafka_error_is_fatal(aborted.get()) != 0) {
                return failure(*aborted, "giving up a transaction");
            }
        }
        rewind(batch);
        return sent.error();
    }

private:
    Answer<Done> make_consumer(const std::string& group) {
        ConfBuilder conf(settings_, options_.name, reading_);
        conf.set("group.id", group);
        conf.set("enable.auto.commit", "false");
        conf.set("enable.auto.offset.store", "false");
        conf.set("isolation.level", "read_committed");
        conf.prefer("auto.offset.reset", "earliest");
        conf.prefer("session.timeout.ms", "10000");
        auto made = conf.make(RD_KAFKA_CONSUMER);
        if (!made.ok()) return made.error();
        consumer_ = std::move(made).value();
        rd_kafka_poll_set_consumer(consumer_.get());
        const int timeout = static_cast<int>(options_.connect_timeout_ms);
        if (auto greeted = greet(consumer_.get(), settings_, reading_, timeout); !greeted.ok()) {
            return greeted;
        }
        auto looked = look_at_topic(consumer_.get(), settings_, reading_, topic_, timeout);
        if (!looked.ok()) return looked.error();
        const PartitionList wanted(rd_kafka_topic_partition_list_new(1));
        rd_kafka_topic_partition_list_add(wanted.get(), topic_.c_str(), RD_KAFKA_PARTITION_UA);
        const auto error = rd_kafka_subscribe(consumer_.get(), wanted.get());
        if (error != RD_KAFKA_RESP_ERR_NO_ERROR) return client_error(error, "subscribing");
        return Done{};
    }

    static ClientError failure(const rd_kafka_error_t& error, const std::string& doing) {
        const auto code = rd_kafka_error_code(&error);
        Meaning meaning = meaning_of(code);
        if (meaning.code == wire::Code::internal && rd_kafka_error_is_retriable(&error) != 0) {
            meaning = {wire::Code::timed_out, Errc::indeterminate};
        }
        return {meaning.errc, meaning.code, doing + ": " + rd_kafka_error_string(&error)};
    }

    std::vector<Taken> take(Timeout timeout) {
        std::vector<Taken> batch;
        int wait = static_cast<int>(timeout.count());
        while (batch.size() < options_.batch_messages) {
            Taken one(rd_kafka_consumer_poll(consumer_.get(), wait));
            if (!one) break;
            if (one->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
                batch.push_back(std::move(one));
                wait = 0;
            } else {
                reading_.error(one->err, text_of(one->err, "topic " + topic_));
            }
        }
        return batch;
    }

    Answer<Done> send(const Transform& transform, const std::vector<Taken>& batch) {
        RecordView view;
        RecordExtras extras;
        wire::Message message;
        std::vector<Message> out;
        Record record;
        for (const Taken& one : batch) {
            view.topic = rd_kafka_topic_name(one->rkt);
            read_record(*one, view);
            to_message(view, message, extras);
            std::vector<std::byte> properties;
            wire::Encoder encoder(properties);
            wire::write_properties(encoder, message.properties);
            Delivery delivery;
            delivery.position = static_cast<std::uint64_t>(one->offset) + 1;
            delivery.published_ms = message.properties.published_at_ms;
            delivery.message = {
                message.exchange, message.routing_key, properties, as_bytes(view.payload), {}};
            out.clear();
            if (!transform(delivery, out)) {
                return ClientError{Errc::rejected, wire::Code::ok, "the handler gave it up"};
            }
            for (const Message& next : out) {
                std::string_view wrong = unsupported(next.properties);
                if (wrong.empty()) {
                    wrong = to_record(next.exchange, next.routing_key, next.properties, record);
                }
                const Topics::One* const topic =
                    topics_.of(producer_.get(), next.exchange, next.routing_key);
                if (topic == nullptr) wrong = no_topic_name;
                if (!wrong.empty()) {
                    return ClientError{Errc::rejected, wire::Code::not_supported,
                                       std::string(wrong)};
                }
                rd_kafka_resp_err_t error = RD_KAFKA_RESP_ERR_NO_ERROR;
                while ((error = produce(producer_.get(), *topic, record, as_bytes(next.payload),
                                        nullptr)) == RD_KAFKA_RESP_ERR__QUEUE_FULL) {
                    rd_kafka_poll(producer_.get(), 10);
                }
                if (error != RD_KAFKA_RESP_ERR_NO_ERROR) {
                    return client_error(error, "topic " + topic->name);
                }
            }
        }
        return Done{};
    }

    Answer<Done> commit(const std::vector<Taken>& batch) {
        std::map<std::int32_t, std::int64_t> next;
        for (const Taken& one : batch) next[one->partition] = one->offset + 1;
        const PartitionList offsets(
            rd_kafka_topic_partition_list_new(static_cast<int>(next.size())));
        for (const auto& [partition, offset] : next) {
            rd_kafka_topic_partition_list_add(offsets.get(), topic_.c_str(), partition)->offset =
                offset;
        }
        const std::unique_ptr<rd_kafka_consumer_group_metadata_t, DestroyMember> member(
            rd_kafka_consumer_group_metadata(consumer_.get()));
        KafkaError error(rd_kafka_send_offsets_to_transaction(producer_.get(), offsets.get(),
                                                              member.get(), transaction_wait_ms));
        if (error) return failure(*error, "putting the offsets into the transaction");
        error.reset(rd_kafka_commit_transaction(producer_.get(), transaction_wait_ms));
        if (error) return failure(*error, "committing the transaction");
        return Done{};
    }

    /// The same messages come again, unless their partition went.
    void rewind(const std::vector<Taken>& batch) {
        std::map<std::int32_t, std::int64_t> first;
        for (const Taken& one : batch) first.emplace(one->partition, one->offset);
        const PartitionList offsets(
            rd_kafka_topic_partition_list_new(static_cast<int>(first.size())));
        for (const auto& [partition, offset] : first) {
            rd_kafka_topic_partition_list_add(offsets.get(), topic_.c_str(), partition)->offset =
                offset;
        }
        const KafkaError error(
            rd_kafka_seek_partitions(consumer_.get(), offsets.get(), transaction_wait_ms));
        if (error) {
            reading_.error(rd_kafka_error_code(error.get()), rd_kafka_error_string(error.get()));
        }
    }

    const TransformerOptions options_;
    const Settings settings_;
    const std::string topic_;
    Watch reading_;
    Watch writing_;
    Kafka consumer_;
    Kafka producer_;
    Topics topics_{settings_};
};

}  // namespace

Answer<std::unique_ptr<Transformer>> make_transformer(TransformerOptions options) {
    auto settings = read_url(options.url);
    if (!settings.ok()) return settings.error();
    if (options.batch_messages == 0) {
        return ClientError{Errc::rejected, wire::Code::ok, "batch_messages: use 1 at least"};
    }
    auto made = std::make_unique<KafkaTransformer>(std::move(options), std::move(settings).value());
    auto started = made->start();
    if (!started.ok()) return started.error();
    return std::unique_ptr<Transformer>(std::move(made));
}

}  // namespace ferry::transport::kafka
