// Attributes: taken, refused with a message, carried through clone, serialisation and re-creation.
#include <cmath>
#include <cstring>

#include "checks.h"
#include "host.h"

using namespace nvinfer1;

namespace {

struct Fields {
    float tau = 0.0f;
    std::string similarity, border, assignment;
};

Fields fields_of(IPluginV3* plugin) {
    const PluginFieldCollection* collection = runtime(plugin)->getFieldsToSerialize();
    Fields result;
    CHECK(collection && collection->nbFields == 4);
    for (int i = 0; i < collection->nbFields; ++i) {
        const PluginField& field = collection->fields[i];
        if (!std::strcmp(field.name, "tau")) {
            CHECK(field.type == PluginFieldType::kFLOAT32 && field.length == 1);
            std::memcpy(&result.tau, field.data, sizeof result.tau);
            continue;
        }
        CHECK(field.type == PluginFieldType::kCHAR);
        const std::string value(static_cast<const char*>(field.data), static_cast<size_t>(field.length));
        if (!std::strcmp(field.name, "similarity")) result.similarity = value;
        if (!std::strcmp(field.name, "border")) result.border = value;
        if (!std::strcmp(field.name, "assignment")) result.assignment = value;
    }
    return result;
}

bool equal(const Fields& a, const Fields& b) {
    return a.tau == b.tau && a.similarity == b.similarity && a.border == b.border && a.assignment == b.assignment;
}

// Every combination of legal values, through clone, serialisation and re-creation in the runtime phase.
void check_values(const char* op) {
    for (const char* similarity : {"cosine", "dot"})
        for (const char* border : {"zero", "exclude"})
            for (const char* assignment : {"soft", "hard"})
                for (float tau : {0.07f, 3e-33f, 3e38f}) {
                    const Fields given{tau, similarity, border, assignment};
                    IPluginV3* plugin =
                        create(op, {text_field("border", border), tau_field(tau), text_field("similarity", similarity),
                                    text_field("assignment", assignment)});
                    CHECK(plugin && messages.empty());
                    if (!plugin) continue;
                    CHECK(equal(fields_of(plugin), given));
                    IPluginV3* copy = plugin->clone();
                    CHECK(copy && copy != plugin);
                    delete plugin;
                    CHECK(equal(fields_of(copy), given));  // nothing of it lay in the one that is gone
                    const PluginFieldCollection* stored = runtime(copy)->getFieldsToSerialize();
                    IPluginV3* loaded =
                        create(op, {stored->fields, stored->fields + stored->nbFields}, TensorRTPhase::kRUNTIME);
                    CHECK(loaded && equal(fields_of(loaded), given));
                    IPluginV3* attached = runtime(loaded)->attachToContext(nullptr);
                    delete loaded;
                    CHECK(attached && equal(fields_of(attached), given));
                    delete attached;
                    delete copy;
                }
}

void check_defaults(const char* op) {
    IPluginV3* plugin = create(op, {});
    CHECK(plugin && equal(fields_of(plugin), {0.07f, "cosine", "zero", "soft"}));
    delete plugin;
    plugin = creator(op)->createPlugin(nullptr, nullptr, TensorRTPhase::kBUILD);
    CHECK(plugin && equal(fields_of(plugin), {0.07f, "cosine", "zero", "soft"}));
    delete plugin;
    // TensorRT's parser counts the NUL that ends a string.
    plugin = create(op, {text_field("similarity", {"dot\0", 4})});
    CHECK(plugin && fields_of(plugin).similarity == "dot");
    delete plugin;
}

void refused(const char* op, const PluginField& field, const char* message) {
    CHECK(!create(op, {field}));
    CHECK(logged(std::string("1 hc_deploy: ") + op + " \"node_7\": " + message));  // severity 1: an error
    if (!logged(message)) std::printf("  expected: %s\n  logged: %s\n", message, messages.c_str());
}

void check_bad_values(const char* op) {
    for (float tau : {0.0f, -0.07f, INFINITY, NAN, 1e-33f, 3.1e38f}) refused(op, tau_field(tau), "tau is ");
    const float pair[] = {0.07f, 0.08f};
    const double wide = 0.07;
    const int32_t whole = 1;
    refused(op, {"tau", pair, PluginFieldType::kFLOAT32, 2}, "tau is a field of 2 x FLOAT32, expected 1 x FLOAT32");
    refused(op, {"tau", pair, PluginFieldType::kFLOAT32, 0}, "tau is a field of 0 x FLOAT32");
    refused(op, {"tau", &wide, PluginFieldType::kFLOAT64, 1}, "tau is a field of 1 x FLOAT64");
    refused(op, {"tau", &whole, PluginFieldType::kINT32, 1}, "tau is a field of 1 x INT32");
    refused(op, {"tau", nullptr, PluginFieldType::kFLOAT32, 1}, "tau is a field of 1 x FLOAT32");
    refused(op, {"tau", pair, static_cast<PluginFieldType>(99), 1}, "tau is a field of 1 x of an unknown type");
    const char* const choices[][2] = {{"similarity", "expected cosine or dot"},
                                      {"border", "expected zero or exclude"},
                                      {"assignment", "expected soft or hard"}};
    for (auto& [name, expected] : choices) {
        for (std::string_view value : {std::string_view("Cosine"), {"soft "}, {"zer"}, {"", 0}, {"hard\0\0", 6}}) {
            refused(op, text_field(name, value), name);
            CHECK(logged(expected));
        }
        refused(op, {name, nullptr, PluginFieldType::kCHAR, 4}, name);
        refused(op, {name, "dot", PluginFieldType::kCHAR, -1}, name);
        refused(op, {name, &whole, PluginFieldType::kINT32, 1}, name);
    }
    refused(op, text_field("temperature", "0.07"), "attribute temperature, expected none but tau, similarity,");
    refused(op, {nullptr, pair, PluginFieldType::kFLOAT32, 1}, "attribute without a name");
}

void check_field_names(const char* op, bool clusters) {
    const PluginFieldCollection* names = creator(op)->getFieldNames();
    CHECK(names && names->nbFields == (clusters ? 4 : 0));
    const char* expected[] = {"tau", "similarity", "border", "assignment"};
    for (int i = 0; i < names->nbFields; ++i) {
        CHECK(!std::strcmp(names->fields[i].name, expected[i]));
        CHECK(names->fields[i].type == (i ? PluginFieldType::kCHAR : PluginFieldType::kFLOAT32));
    }
}

}  // namespace

void check_attributes() {
    for (const char* op : {"HCAssign", "HCUpsample"}) {
        check_field_names(op, true);
        check_values(op);
        check_defaults(op);
        check_bad_values(op);
    }
    for (const char* op : {"HCDecode", "HCArgmax"}) {
        check_field_names(op, false);
        IPluginV3* plugin = create(op, {});
        CHECK(runtime(plugin)->getFieldsToSerialize()->nbFields == 0);
        delete plugin;
        const float tau = 0.07f;
        refused(op, tau_field(tau), "attribute tau, expected none");
    }
}
