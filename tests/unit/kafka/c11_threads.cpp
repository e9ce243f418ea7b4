// ThreadSanitizer knows pthreads and not C11's, by which librdkafka makes its threads: unknown
// threads crash in it. These take the place of the C library's, which are the same things under
// another name.

#include <pthread.h>
#include <threads.h>

#include <cerrno>
#include <cstdint>
#include <memory>

#if defined(__SANITIZE_THREAD__)

namespace {

pthread_mutex_t* mutex_of(mtx_t* mutex) {
    return reinterpret_cast<pthread_mutex_t*>(mutex);
}
pthread_cond_t* condition_of(cnd_t* condition) {
    return reinterpret_cast<pthread_cond_t*>(condition);
}
int answer(int error) {
    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}
struct Start {
    thrd_start_t function;
    void* argument;
};
void* run(void* raw) {
    const std::unique_ptr<Start> start(static_cast<Start*>(raw));
    return reinterpret_cast<void*>(static_cast<std::intptr_t>(start->function(start->argument)));
}

}  // namespace

extern "C" {

int thrd_create(thrd_t* thread, thrd_start_t function, void* argument) {
    return answer(pthread_create(thread, nullptr, run, new Start{function, argument}));
}
int thrd_join(thrd_t thread, int* result) {
    void* value = nullptr;
    const int error = pthread_join(thread, &value);
    if (result != nullptr) *result = static_cast<int>(reinterpret_cast<std::intptr_t>(value));
    return answer(error);
}
int thrd_detach(thrd_t thread) {
    return answer(pthread_detach(thread));
}
int mtx_init(mtx_t* mutex, int type) {
    pthread_mutexattr_t kind;
    pthread_mutexattr_init(&kind);
    if ((type & mtx_recursive) != 0) pthread_mutexattr_settype(&kind, PTHREAD_MUTEX_RECURSIVE);
    return answer(pthread_mutex_init(mutex_of(mutex), &kind));
}
int mtx_lock(mtx_t* mutex) {
    return answer(pthread_mutex_lock(mutex_of(mutex)));
}
int mtx_trylock(mtx_t* mutex) {
    return pthread_mutex_trylock(mutex_of(mutex)) == 0 ? thrd_success : thrd_busy;
}
int mtx_unlock(mtx_t* mutex) {
    return answer(pthread_mutex_unlock(mutex_of(mutex)));
}
void mtx_destroy(mtx_t* mutex) {
    pthread_mutex_destroy(mutex_of(mutex));
}
int cnd_init(cnd_t* condition) {
    return answer(pthread_cond_init(condition_of(condition), nullptr));
}
int cnd_signal(cnd_t* condition) {
    return answer(pthread_cond_signal(condition_of(condition)));
}
int cnd_broadcast(cnd_t* condition) {
    return answer(pthread_cond_broadcast(condition_of(condition)));
}
int cnd_wait(cnd_t* condition, mtx_t* mutex) {
    return answer(pthread_cond_wait(condition_of(condition), mutex_of(mutex)));
}
int cnd_timedwait(cnd_t* condition, mtx_t* mutex, const timespec* until) {
    return answer(pthread_cond_timedwait(condition_of(condition), mutex_of(mutex), until));
}
void cnd_destroy(cnd_t* condition) {
    pthread_cond_destroy(condition_of(condition));
}

// The library itself is not instrumented: its atomics are not seen.
const char* __tsan_default_suppressions();
const char* __tsan_default_suppressions() {
    return "called_from_lib:librdkafka.so\nrace:librdkafka.so\nmutex:librdkafka.so\n"
           "deadlock:librdkafka.so\nthread:librdkafka.so\n";
}

}  // extern "C"

#endif
