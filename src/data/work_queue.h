#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

namespace reducenet {

/// Does `work` on every pushed item, on `threads` threads, with at most 16 items a thread waiting.
template <typename Item>
class WorkQueue {
 public:
  WorkQueue(int threads, std::function<void(Item&)> work) : work_(std::move(work)), capacity_(16 * threads) {
    for (int i = 0; i < threads; ++i) threads_.emplace_back([this] { run(); });
  }
  /// Items that still wait are dropped.
  ~WorkQueue() {
    {
      const std::lock_guard lock(mutex_);
      items_.clear();
      closed_ = true;
    }
    not_empty_.notify_all();
  }

  /// Blocks while the queue is full. False after a failure: the item is dropped and finish() will throw.
  bool push(Item item) {
    std::unique_lock lock(mutex_);
    not_full_.wait(lock, [this] { return items_.size() < capacity_ || failure_; });
    if (failure_) return false;
    items_.emplace_back(pushed_++, std::move(item));
    not_empty_.notify_one();
    return true;
  }

  /// Waits for all items. Throws what the earliest pushed of the failing items threw.
  void finish() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    not_empty_.notify_all();
    threads_.clear();
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  void run() {
    for (std::unique_lock lock(mutex_);;) {
      not_empty_.wait(lock, [this] { return !items_.empty() || closed_; });
      if (items_.empty()) return;
      auto [index, item] = std::move(items_.front());
      items_.pop_front();
      not_full_.notify_one();
      lock.unlock();
      std::exception_ptr thrown;
      try {
        work_(item);
      } catch (...) {
        thrown = std::current_exception();
      }
      lock.lock();
      if (thrown && (!failure_ || index < failed_)) {
        failure_ = thrown;
        failed_ = index;
        items_.clear();  // all of them were pushed later
        not_full_.notify_all();
      }
    }
  }

  const std::function<void(Item&)> work_;
  const size_t capacity_;
  std::mutex mutex_;
  std::condition_variable not_empty_, not_full_;
  std::deque<std::pair<size_t, Item>> items_;
  size_t pushed_ = 0, failed_ = 0;
  std::exception_ptr failure_;
  bool closed_ = false;
  std::vector<std::jthread> threads_;  // last: joined before the members above go
};

}  // namespace reducenet
