// What we call of ONNX Runtime, in our own words: its headers come with no package.
//
// Its interface is a table of functions that only ever grows at its end. A program asks for the table of a version and
// may use what that version had; every later ONNX Runtime gives it. So a function is known by its place. The youngest
// place here came with version 17 (ONNX Runtime 1.17).
#pragma once
#include <cstddef>
#include <cstdint>

namespace ort {

constexpr uint32_t kVersion = 17;

// Made, owned and looked into by ONNX Runtime alone.
struct Status;
struct SessionOptions;
struct Domain;
struct KernelInfo;
struct KernelContext;
struct Value;
struct TensorInfo;

// Where an interface table is asked for.
struct ApiBase {
    const void* const* (*table)(uint32_t version);
    const char* (*version_text)();
};

enum ErrorCode { kFail = 1, kInvalidArgument = 2 };
enum ElementType { kAnyType = 0, kFloat32 = 1, kInt32 = 6, kFloat16 = 10, kBFloat16 = 16 };
enum Presence { kRequired = 0 };
enum MemoryType { kDefaultMemory = 0 };

// A function of the table by its place. A call that fails returns a Status, which its caller releases.
class Api {
   public:
    explicit Api(const void* const* table) : table_(table) {}

    Status* error(ErrorCode code, const char* text) const { return at<Status*(int, const char*)>(0)(code, text); }
    void release(Status* status) const { at<void(Status*)>(93)(status); }

    Status* create_domain(const char* name, Domain** domain) const {
        return at<Status*(const char*, Domain**)>(26)(name, domain);
    }
    Status* add_op(Domain* domain, const struct CustomOp* op) const {
        return at<Status*(Domain*, const struct CustomOp*)>(27)(domain, op);
    }
    Status* add_domain(SessionOptions* options, Domain* domain) const {
        return at<Status*(SessionOptions*, Domain*)>(28)(options, domain);
    }

    // Of a node. A text: its bytes with the closing zero are counted in `size`, which says first how much there is room
    // for.
    Status* attribute(const KernelInfo* info, const char* name, float* value) const {
        return at<Status*(const KernelInfo*, const char*, float*)>(85)(info, name, value);
    }
    Status* attribute(const KernelInfo* info, const char* name, char* text, size_t* size) const {
        return at<Status*(const KernelInfo*, const char*, char*, size_t*)>(87)(info, name, text, size);
    }

    // Of a run. Values belong to ONNX Runtime.
    Status* input(const KernelContext* context, size_t index, const Value** value) const {
        return at<Status*(const KernelContext*, size_t, const Value**)>(90)(context, index, value);
    }
    Status* output(KernelContext* context, size_t index, const int64_t* shape, size_t rank, Value** value) const {
        return at<Status*(KernelContext*, size_t, const int64_t*, size_t, Value**)>(91)(context, index, shape, rank,
                                                                                        value);
    }
    // Calls work(data, i) for i from 0 to count-1 on the threads of the session, in `batches` groups (0: one a thread).
    Status* parallel_for(const KernelContext* context, void (*work)(void* data, size_t i), size_t count, size_t batches,
                         void* data) const {
        return at<Status*(const KernelContext*, void (*)(void*, size_t), size_t, size_t, void*)>(274)(
            context, work, count, batches, data);
    }

    Status* data(const Value* value, void** data) const { return at<Status*(const Value*, void**)>(51)(value, data); }
    Status* info(const Value* value, TensorInfo** info) const {
        return at<Status*(const Value*, TensorInfo**)>(65)(value, info);
    }
    Status* rank(const TensorInfo* info, size_t* rank) const {
        return at<Status*(const TensorInfo*, size_t*)>(61)(info, rank);
    }
    Status* shape(const TensorInfo* info, int64_t* shape, size_t rank) const {
        return at<Status*(const TensorInfo*, int64_t*, size_t)>(62)(info, shape, rank);
    }
    void release(TensorInfo* info) const { at<void(TensorInfo*)>(99)(info); }

   private:
    template <typename Function>
    Function* at(int place) const {
        return reinterpret_cast<Function*>(const_cast<void*>(table_[place]));
    }

    const void* const* table_;
};

// A custom op, as ONNX Runtime reads it up to `version` 17: a number, then functions that get the op itself.
struct CustomOp {
    uint32_t version;
    void* (*create_without_status)(const CustomOp*, const void* const* table, const KernelInfo*);
    const char* (*name)(const CustomOp*);
    const char* (*provider)(const CustomOp*);  // null: the CPU's
    ElementType (*input_type)(const CustomOp*, size_t);
    size_t (*input_count)(const CustomOp*);
    ElementType (*output_type)(const CustomOp*, size_t);
    size_t (*output_count)(const CustomOp*);
    void (*run_without_status)(void* kernel, KernelContext*);
    void (*destroy)(void* kernel);
    Presence (*input_presence)(const CustomOp*, size_t);
    Presence (*output_presence)(const CustomOp*, size_t);
    MemoryType (*input_memory)(const CustomOp*, size_t);
    int (*variadic_input_least)(const CustomOp*);
    int (*variadic_input_same_types)(const CustomOp*);
    int (*variadic_output_least)(const CustomOp*);
    int (*variadic_output_same_types)(const CustomOp*);
    Status* (*create)(const CustomOp*, const void* const* table, const KernelInfo*, void** kernel);
    Status* (*run)(void* kernel, KernelContext*);
    Status* (*infer_shapes)(const CustomOp*, void* context);  // may be null
    int (*first_opset)(const CustomOp*);
    int (*last_opset)(const CustomOp*);
    void* not_read[4];  // of version 18: which memory input and output may share
};

}  // namespace ort
